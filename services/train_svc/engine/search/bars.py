"""Shares as a bar chart in SVG."""

from collections.abc import Mapping
from xml.sax.saxutils import escape

ROW, BAR, TOP, GAP = 26, 300, 44, 12
LETTER = 7.2
"""Width of a letter of the font, in pixels."""


def bars_svg(shares: Mapping[str, float], title: str) -> str:
    """Return a picture with a bar for each share (0 to 1), in the order given."""
    left = round(max((len(name) for name in shares), default=0) * LETTER) + 2 * GAP
    width = max(left + BAR + 70, round(len(title) * LETTER) + 2 * GAP)
    height = TOP + ROW * len(shares) + GAP
    rows = [_row(name, share, left, TOP + ROW * place) for place, (name, share) in enumerate(shares.items())]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="monospace" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="{GAP}" y="24" font-weight="bold" fill="#222222">{escape(title)}</text>',
            *rows,
            "</svg>\n",
        ]
    )


def _row(name: str, share: float, left: int, top: int) -> str:
    size = round(BAR * share, 1)
    return (
        f'<text x="{left - GAP}" y="{top + 14}" text-anchor="end" fill="#222222">{escape(name)}</text>'
        f'<rect x="{left}" y="{top + 2}" width="{size}" height="16" fill="#3b6fb6"/>'
        f'<text x="{left + size + 6}" y="{top + 14}" fill="#222222">{share:.1%}</text>'
    )
