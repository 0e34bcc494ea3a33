"""Curves as text and as SVG."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from modelwright.cli.text import number

Points = Sequence[tuple[int, float]]
"""Steps and values, in the order of steps."""
WIDTH, HEIGHT = 64, 10
"""Of a chart, in characters; each holds 2 x 4 dots."""
ACROSS, DOWN = 2, 4
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille pattern, by row and column (Unicode, block U+2800)."""
PLOT, ROOM, LEFT, MARGIN = (560, 150), 48, 78, 16
"""Size of a plot in SVG; room for its title and steps; room for its scale; at its right; all in pixels."""


def chart(name: str, points: Points) -> str:
    """Return a curve as text: its name with first, last and extreme value, then the chart with its scale."""
    values = [value for _, value in points]
    head = (
        f"{name}  {number(values[0])} -> {number(values[-1])}, least {number(min(values))}, most {number(max(values))}"
    )
    labels = {0: number(max(values)), HEIGHT - 1: number(min(values))}
    rows = _braille(_scaled(points, WIDTH * ACROSS - 1, HEIGHT * DOWN - 1))
    lines = [f"{labels.get(place, ''):>10} \u2524{row}" for place, row in enumerate(rows)]
    first, last = str(points[0][0]), f"step {points[-1][0]}"
    return "\n".join([head, *lines, f"{'':10} \u2514{first}{last:>{WIDTH - len(first)}}"])


def chart_svg(curves: Mapping[str, Points]) -> str:
    """Return curves as one picture, one plot under the other."""
    width, height = LEFT + PLOT[0] + MARGIN, (PLOT[1] + ROOM) * len(curves) + MARGIN
    plots = [_plot(name, points, place * (PLOT[1] + ROOM)) for place, (name, points) in enumerate(curves.items())]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="{width}" height="{height}" fill="#ffffff"/>'
    )
    return "\n".join([head, *plots, "</svg>\n"])


def _plot(name: str, points: Points, top: int) -> str:
    wide, high = PLOT
    top += 28
    values = [value for _, value in points]
    line = " ".join(f"{LEFT + x:.1f},{top + y:.1f}" for x, y in _scaled(points, wide, high))
    scale = ((max(values), top + 10), (min(values), top + high))
    return "\n".join(
        [
            f'<text x="{LEFT}" y="{top - 8}" font-weight="bold" fill="#222222">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{wide}" height="{high}" fill="none" stroke="#bbbbbb"/>',
            *(
                f'<text x="{LEFT - 8}" y="{y}" text-anchor="end" fill="#555555">{number(value)}</text>'
                for value, y in scale
            ),
            f'<text x="{LEFT}" y="{top + high + 15}" fill="#555555">{points[0][0]}</text>',
            f'<text x="{LEFT + wide}" y="{top + high + 15}" text-anchor="end" fill="#555555">'
            f"step {points[-1][0]}</text>",
            f'<polyline points="{line}" fill="none" stroke="#3b6fb6" stroke-width="1.5"/>',
        ]
    )


def _scaled(points: Points, wide: int, high: int) -> list[tuple[float, float]]:
    # The largest value is at 0, as on a screen; a flat curve lies in the middle.
    first, last = points[0][0], points[-1][0]
    values = [value for _, value in points]
    low, span = min(values), max(values) - min(values)
    return [
        (
            wide * (step - first) / (last - first) if last > first else 0.0,
            high * (1 - (value - low) / span) if span else high / 2,
        )
        for step, value in points
    ]


def _braille(places: Sequence[tuple[float, float]]) -> list[str]:
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    for x, y in _joined([(round(x), round(y)) for x, y in places]):
        cells[y // DOWN][x // ACROSS] |= DOTS[y % DOWN][x % ACROSS]
    return ["".join(chr(BRAILLE + cell) for cell in row) for row in cells]


def _joined(places: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    # Points and the straight lines between them.
    found = {places[0]}
    for (x0, y0), (x1, y1) in pairwise(places):
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        found |= {(x0 + round((x1 - x0) * t / count), y0 + round((y1 - y0) * t / count)) for t in range(1, count + 1)}
    return found
