"""How fast a run goes, and when it will be done."""

import time
from collections import deque
from collections.abc import Callable

WINDOW = 20
"""Steps over which the speed is taken."""


class Throughput:
    """Steps a second over the last steps, without the pauses between them, and seconds left with the pauses.

    Args:
        total_steps: of the whole run.
        first_step: steps that were made before this attempt.
        clock: gives seconds.
    """

    def __init__(self, total_steps: int, first_step: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._first, self._clock = total_steps, first_step, clock
        self._paused_s = 0.0
        self._speed: float | None = None
        self.resume(first_step)

    def step(self, step: int) -> None:
        """Note that so many steps are made."""
        if self._times[-1][1] == self._first:
            # The first step may compile for a minute, which says nothing of the others.
            self.resume(step)
        else:
            self._times.append((self._clock(), step))

    def pause_over(self, step: int) -> None:
        """Note that the time since the last step went to something else, such as an evaluation."""
        self._speed = self.steps_per_s
        self._paused_s += self._clock() - self._times[-1][0]
        self.resume(step)

    def resume(self, step: int) -> None:
        """Begin to measure anew at a step."""
        # A new one at once: another thread, which draws, must not see an empty one.
        self._times = deque([(self._clock(), step)], maxlen=WINDOW + 1)

    @property
    def steps_per_s(self) -> float | None:
        """Over the last 20 steps; None before there are any to tell from."""
        times = self._times
        (began, first), (now, last) = times[0], times[-1]
        return (last - first) / (now - began) if last > first and now > began else self._speed

    @property
    def eta_s(self) -> float | None:
        """Seconds left, with as many pauses a step as so far; None: not known yet."""
        made = self._times[-1][1] - self._first
        speed = self.steps_per_s
        if speed is None or made <= 0:
            return None
        return (self._total - self._times[-1][1]) * (1 / speed + self._paused_s / made)
