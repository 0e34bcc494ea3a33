"""A lifecycle while it runs, and the one table it ends with."""

from importlib import import_module
from typing import TYPE_CHECKING

from modelwright.cli import stages
from modelwright.cli.output import table
from modelwright.cli.shell import Shell
from modelwright.cli.text import clean, seconds
from services.common.errors import ModelwrightError

if TYPE_CHECKING:
    from rich.table import Table

    from modelwright.client.stages import Lifecycle

STYLES = {"done": "green", "reused": "cyan", "failed": "red", "cancelled": "yellow", "running": "bold"}
LIVE = ("STAGE", "STATE", "TOOK", "NOW")
RESULT = ("STAGE", "STATE", "TOOK", "FIGURES", "DIGEST")


class LifecycleFailedError(ModelwrightError):
    """A lifecycle ended otherwise than well; the message says which stage and why."""

    code = "lifecycle_failed"
    title = "Lifecycle failed"


def watch(shell: Shell, lifecycle_id: str) -> "Lifecycle":
    """Show a lifecycle until it has ended, and return it; Ctrl-C leaves it running and says how to come back."""
    console = import_module("rich.console").Console(stderr=True)
    try:
        if shell.is_for_people and console.is_terminal:
            return _watch_live(shell, lifecycle_id, console)
        return _watch_plain(shell, lifecycle_id)
    except KeyboardInterrupt:
        shell.output.remark(
            f"\n{lifecycle_id} goes on; come back with `modelwright lifecycle watch {lifecycle_id}`, "
            f"stop it with `modelwright cancel {lifecycle_id}`"
        )
        raise


def result(shell: Shell, lifecycle: "Lifecycle", *, strict: bool = True) -> None:
    """Write the table of a lifecycle.

    Raises:
        LifecycleFailedError: `strict`, and it did not succeed.
    """
    if shell.is_for_people:
        shell.output.console.print(_result_table(lifecycle))
        for line in _closing(shell, lifecycle):
            shell.output.line(None, line)
    else:
        shell.output.value(lifecycle)
    if strict and lifecycle.state != "succeeded":
        raise LifecycleFailedError(f"{lifecycle.name} {lifecycle.state}: {lifecycle.error or 'see the stage above'}")


def _watch_live(shell: Shell, lifecycle_id: str, console: object) -> "Lifecycle":
    lifecycle = shell.client.lifecycles.get(lifecycle_id)
    live = import_module("rich.live").Live(console=console, transient=True, refresh_per_second=4)
    with live:
        live.update(_live_table(lifecycle), refresh=True)
        for lifecycle in shell.client.lifecycles.watch(lifecycle_id):
            live.update(_live_table(lifecycle), refresh=True)
    return lifecycle


def _watch_plain(shell: Shell, lifecycle_id: str) -> "Lifecycle":
    """Tell each stage's changes of state on standard error, as a CI log wants them."""
    lifecycle = shell.client.lifecycles.get(lifecycle_id)
    told: dict[str, str] = {}
    for lifecycle in shell.client.lifecycles.watch(lifecycle_id):
        for stage in lifecycle.stages:
            now = stages.state(stage)
            if stage.state != "pending" and told.get(stage.name) != now:
                told[stage.name] = now
                took = "" if stage.state == "running" else f" {seconds(stage.duration_s)}"
                shell.output.remark(f"{stage.name}: {now}{took}")
    return lifecycle


def _live_table(lifecycle: "Lifecycle") -> "Table":
    rows = []
    for stage in lifecycle.stages:
        now = stages.progress(stage) or stages.figures(stage).split("\n")[0]
        rows.append((stage.name, _styled(stages.state(stage)), seconds(stage.duration_s), now))
    return table(LIVE, rows, title=clean(f"{lifecycle.name} ({lifecycle.id})"))


def _result_table(lifecycle: "Lifecycle") -> "Table":
    return table(
        RESULT,
        (
            (
                stage.name,
                _styled(stages.state(stage)),
                seconds(stage.duration_s),
                stages.figures(stage),
                stages.digest(stage),
            )
            for stage in lifecycle.stages
        ),
    )


def _closing(shell: Shell, lifecycle: "Lifecycle") -> list[str]:
    lines = [""]
    if lifecycle.duration_s is not None:
        lines.append(f"{lifecycle.name} {lifecycle.state} in {seconds(lifecycle.duration_s)} ({lifecycle.id})")
    lines += [f"dashboard  {shell.client.settings.url}/"]
    for stage in lifecycle.stages:
        name = (stage.result or {}).get("deployment") if isinstance(stage.result, dict) else None
        for address in stages.addresses(stage):
            lines.append(f"{'REST' if address.startswith('http') else 'gRPC'}       {address}")
        if name:
            lines.append(f"try        modelwright predict {name} PICTURE.png")
    return lines


def _styled(state: str) -> object:
    return import_module("rich.text").Text(clean(state), style=STYLES.get(state, ""))
