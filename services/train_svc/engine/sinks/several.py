"""Several sinks as one."""

from collections.abc import Sequence

from services.train_svc.engine.ports import MetricSink, Point


class Several:
    """Hands points to each of its sinks, in order."""

    def __init__(self, *sinks: MetricSink) -> None:
        self._sinks = sinks

    def log(self, points: Sequence[Point]) -> None:
        """Hand the points on."""
        for sink in self._sinks:
            sink.log(points)

    def close(self) -> None:
        """Close those that can be closed."""
        for sink in self._sinks:
            close = getattr(sink, "close", None)
            if close is not None:
                close()
