"""Progress in a terminal: two lines that are redrawn, and above them a table of evaluations that grows."""

from collections.abc import Iterable, Mapping
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.train_svc.engine.training.display import Progress

REDRAWS_PER_S = 4
"""Drawing is a thread's, and takes training a thousandth of its time."""


class Terminal:
    """The view of a terminal.

    What is printed or logged meanwhile appears above the two lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._columns: list[str] = []
        self._widths: list[int] = []

    def begin(self, progress: Progress) -> None:
        """Draw this run from now on."""
        self._progress = progress
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=REDRAWS_PER_S, transient=True
        )
        self._live.start()

    def update(self) -> None:
        """Do nothing: the thread that draws looks for itself."""

    def evaluated(self, metrics: Mapping[str, str]) -> None:
        """Add a line to the table, and a head before the first."""
        of = self._progress
        cells = {"step": str(of.step) if of else "", **metrics}
        if list(cells) != self._columns:
            self._columns = list(cells)
            # The ends of intervals change their lengths from line to line.
            self._widths = [max(len(name), len(text) + 2, 8) for name, text in cells.items()]
            self._console.print(Text(self._row(cells), style="bold"), soft_wrap=True)
        self._console.print(Text(self._row(cells.values())), soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Take the two lines away."""
        if self._live is not None:
            self._live.stop()
        self._live = None

    def _row(self, cells: Iterable[str]) -> str:
        return "  ".join(text.rjust(width) for text, width in zip(cells, self._widths, strict=True))

    def _draw(self) -> RenderableType:
        of = self._progress
        if of is None:
            return ""
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(of.epoch),
            ProgressBar(total=of.run.total_steps, completed=of.step, width=30),
            Text(f"{of.step}/{of.run.total_steps}"),
            Text(of.eta),
        )
        return Group(bar, Text("  ".join(of.details), overflow="ellipsis", no_wrap=True))
