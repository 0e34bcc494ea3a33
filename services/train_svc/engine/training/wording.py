"""Numbers of a run as people read them."""

import math
from collections.abc import Mapping

KIBI = 1024
MINUTE = HOUR = 60
SMALL, LARGE = 1e-3, 1e5
LOW, HIGH = "_ci_low", "_ci_high"


def time_text(seconds: float | None) -> str:
    """Return `4:05` or `1:02:03`; `-` for what is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, left = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, HOUR)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def size_text(size_bytes: float) -> str:
    """Return `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < KIBI:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= KIBI
    return f"{size_bytes:.1f} GiB"


def count_text(count: float) -> str:
    """Return `25.6M` of 25,557,032."""
    for unit in ("", "k", "M"):
        if count < 999.5:  # noqa: PLR2004 - what rounds to four digits
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.4g}B"


def value_text(value: float) -> str:
    """Return a metric with four digits that count."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    return f"{value:.3e}" if not SMALL <= abs(value) < LARGE else f"{value:.4g}"


def metric_texts(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return each metric without `validation_`, its interval, where there is one, behind it: `0.95 (0.93 to 0.96)`."""
    found = {}
    for name, value in metrics.items():
        if not name.endswith((LOW, HIGH)):
            low, high = metrics.get(name + LOW), metrics.get(name + HIGH)
            interval = "" if low is None or high is None else f" ({value_text(low)} to {value_text(high)})"
            found[name.removeprefix("validation_")] = value_text(value) + interval
    return found
