"""Text that a terminal may be given, and numbers as people read them."""

import re
from datetime import datetime

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Everything that steers a terminal or turns the direction of writing, but for tab and line feed."""
MINUTE, HOUR, DAY = 60, 3600, 86_400
UNITS = ("B", "kB", "MB", "GB", "TB")
DIGEST_SHOWN = 19
"""`sha256:` and twelve digits."""


def clean(text: str) -> str:
    """Return `text` with every control character replaced by a visible mark."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def escape_json(text: str) -> str:
    """Return JSON text with the control characters that JSON lets stand written as escapes."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def short(digest: str) -> str:
    """Return enough of a digest to know it by."""
    return digest[:DIGEST_SHOWN] if digest.startswith("sha256:") else digest


def seconds(value: float | None) -> str:
    """Return a duration: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if value is None:
        return ""
    if value < MINUTE:
        return f"{value:.1f} s"
    if value < HOUR:
        return f"{int(value // MINUTE)} min {int(value % MINUTE):02} s"
    return f"{int(value // HOUR)} h {int(value % HOUR // MINUTE):02} min"


def size(value: float) -> str:
    """Return a number of bytes: `12 B`, `1.5 MB`."""
    for unit in UNITS[:-1]:
        if abs(value) < 1000:  # noqa: PLR2004 - the units are decimal
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {UNITS[-1]}"


def counted(value: float) -> str:
    """Return how many: `830`, `12.4 k`, `4.09 G`."""
    for unit in ("", " k", " M", " G"):
        if abs(value) < 1000:  # noqa: PLR2004 - the units are decimal
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.4g} T"


def number(value: object) -> str:
    """Return a figure: at most five digits that count, whole numbers whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


def moment(value: datetime | None) -> str:
    """Return a time in this machine's zone, to the second."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""
