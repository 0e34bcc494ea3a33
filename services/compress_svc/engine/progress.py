"""How far a compression is, and whether it should leave off."""

from collections.abc import Callable
from dataclasses import dataclass


class Stopped(Exception):
    """The caller asked to leave off; what was finished before has been handed over."""


def _silent(_fraction: float, _message: str) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The caller's ear and its stop flag, narrowed to a part of the whole work."""

    report: Callable[[float, str], None] = _silent
    """Takes the finished share, 0 to 1, and what is being done."""
    stop_requested: Callable[[], bool] = _never
    start: float = 0.0
    """Share of the whole that was done before this part."""
    span: float = 1.0
    """Share of the whole that this part makes up."""

    def part(self, start: float, span: float) -> "Watch":
        """Return the watch of a part: from `start`, over `span` of this one's share."""
        return Watch(
            report=self.report,
            stop_requested=self.stop_requested,
            start=self.start + start * self.span,
            span=span * self.span,
        )

    def say(self, fraction: float, message: str) -> None:
        """Report, and leave off if asked to.

        Raises:
            Stopped: a stop was requested.
        """
        self.check()
        self.report(min(self.start + fraction * self.span, 1.0), message)

    def check(self) -> None:
        """Raise `Stopped` if a stop was requested."""
        if self.stop_requested():
            raise Stopped("stopped on request")
