"""Progress bars, on standard error so that answers can be piped; silent where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelwright.cli.shell import Shell
from modelwright.cli.text import clean

if TYPE_CHECKING:
    from modelwright.client.records import Job


@contextmanager
def uploading(shell: Shell, name: str) -> Iterator[Callable[[int, int], None]]:
    """Show bytes, rate and time left of an upload; gives the function that is told of progress."""
    bars = import_module("rich.progress")
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with _progress(shell, columns) as progress:
        task = progress.add_task(clean(f"upload {name}"), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def following(shell: Shell, job: "Job", title: str) -> None:
    """Show a job until it has ended; Ctrl-C leaves it at work.

    Raises:
        JobFailedError: it did not succeed.
    """
    bars = import_module("rich.progress")
    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
    )
    try:
        with _progress(shell, columns) as progress:
            task = progress.add_task(clean(title), total=1.0)
            for now in shell.client.jobs.watch(job.id):
                word = now.waiting_reason if now.state == "queued" else now.message
                text = clean(f"{title}: {word or now.state}")
                progress.update(task, completed=now.progress, description=text)
                job = now
    except KeyboardInterrupt:
        shell.output.remark(f"{job.id} goes on; follow it with `modelwright logs -f {job.id}`")
        raise
    job.successful()


def _progress(shell: Shell, columns: Any) -> Any:  # noqa: ANN401 - rich loads when it is needed
    console = import_module("rich.console").Console(stderr=True)
    is_shown = shell.is_for_people and console.is_terminal
    return import_module("rich.progress").Progress(*columns, console=console, disable=not is_shown, transient=True)
