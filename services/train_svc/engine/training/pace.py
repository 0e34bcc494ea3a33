"""How far a run is, told a few times a second."""

import math
import time

from services.train_svc.engine.ports import ProgressSink

REPORT_EVERY_S = 0.25


class Pace:
    """Reports progress with an estimate of the time left.

    Args:
        sink: who is told.
        epochs: in the run.
        steps_per_epoch: steps in an epoch.
        began_at: steps that were made before, by the attempt that this one goes on from.
    """

    def __init__(self, sink: ProgressSink, *, epochs: int, steps_per_epoch: int, began_at: int) -> None:
        self._sink, self._epochs, self._steps_per_epoch = sink, epochs, steps_per_epoch
        self._total = epochs * steps_per_epoch
        self._began_at = began_at
        self._began = self._reported = time.monotonic()

    def tell(self, step: int, loss: float) -> None:
        """Report a step, unless the last report was just now."""
        now = time.monotonic()
        due = step in (self._total, self._began_at + 1) or now - self._reported >= REPORT_EVERY_S
        if not due or step <= self._began_at:
            return
        self._reported = now
        each_s = (now - self._began) / (step - self._began_at)
        epoch = math.ceil(step / self._steps_per_epoch)
        self._sink.report(
            progress=step / self._total,
            eta_s=each_s * (self._total - step),
            message=f"epoch {epoch}/{self._epochs}, step {step}/{self._total}, loss {loss:.4f}",
        )
