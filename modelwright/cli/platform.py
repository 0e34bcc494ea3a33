"""`up`, `down`, `status`, `gc`, `sync`, `version`: the platform itself."""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer

from modelwright import __version__
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import size
from services.common.errors import ModelwrightError, UnavailableError

HOME = typer.Option(envvar="MODELWRIGHT_HOME", help="Folder of everything the platform keeps.")
PORT = typer.Option(envvar="MODELWRIGHT_GATEWAY_PORT", help="Port of REST and the pages.")
DEFAULT_HOME = Path(".modelwright")
DEFAULT_PORT = 8080


class Platform(Protocol):
    """Every service in one process: what `services.__main__` offers."""

    def up(self, *, home: Path, port: int, detach: bool) -> dict[str, Any]:
        """Start it; returns where it answers once it is ready."""
        ...

    def status(self, home: Path) -> dict[str, Any]:
        """Return where the one in `home` answers; empty if none runs."""
        ...

    def failing(self, home: Path) -> dict[str, int]:
        """Return its parts that keep ending, and how often they did."""
        ...

    def down(self, *, home: Path) -> bool:
        """Stop it; False if none runs."""
        ...


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("down")(down)
    command(app, "status")(status)
    command(app, "gc")(gc)
    command(app, "sync")(sync)
    command(app, "version")(version)


def up(
    home: Annotated[Path, HOME] = DEFAULT_HOME,
    port: Annotated[
        int, typer.Option(envvar="MODELWRIGHT_GATEWAY_PORT", help="Port of REST and the pages.")
    ] = DEFAULT_PORT,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is ready; it goes on.")] = False,
) -> None:
    """Start the whole platform on this machine: services, gateway, queue, a worker."""
    found = _platform().up(home=home.absolute(), port=port, detach=detach)
    if detach:
        typer.echo(f"ready at {found['url']} (process {found['pid']}); stop it with `modelwright down`")


def down(home: Annotated[Path, HOME] = DEFAULT_HOME) -> None:
    """Stop the platform that `up --detach` started; jobs at work checkpoint first."""
    stopped = _platform().down(home=home.absolute())
    typer.echo("stopped" if stopped else f"nothing runs in {home}")


def _platform() -> Platform:
    try:
        module = import_module("services.__main__")
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the platform's own parts are not installed ({error.name} is missing); run `pip install modelwright[all]`"
        ) from error
    return cast(Platform, module)


def status(shell: Shell) -> None:
    """Show whether the server answers, what it is, and its workers."""
    client = shell.client
    info, workers = client.info(), client.workers()
    if not shell.is_for_people:
        shell.output.value({"url": client.settings.url, "info": info, "workers": workers})
        return
    plain = {"server": client.settings.url, **info}
    shell.output.record(plain, {key: _reader(key) for key in plain})
    shell.output.rows(
        workers,
        {
            "WORKER": lambda worker: worker.name,
            "QUEUES": lambda worker: worker.queues,
            "BUSY": lambda worker: f"{worker.busy_slots}/{worker.slots}",
            "SEEN": lambda worker: worker.seen_at,
        },
        empty="no workers; jobs will wait until one is started",
    )
    _warn_of_failing(shell)


def _warn_of_failing(shell: Shell) -> None:
    """Say which parts of the platform on this machine keep ending, if it is the one that was asked."""
    home = Path(os.environ.get("MODELWRIGHT_HOME", DEFAULT_HOME)).absolute()
    if not (home / "platform.json").exists():
        return
    platform = _platform()
    if platform.status(home).get("url") == shell.client.settings.url:
        for name, times in platform.failing(home).items():
            log = home / "logs" / f"{name}.log"
            shell.output.remark(f"warning: {name} has ended {times} times in a row; {log} says why")


def gc(
    shell: Shell,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Only say what would go.")] = True,
) -> None:
    """Remove stored bytes that nothing refers to; says what would go unless --no-dry-run is given."""
    found = shell.client.gc(dry_run=dry_run)
    if not shell.is_for_people:
        shell.output.value(found)
        return
    plain = {key: value for key, value in found.items() if not isinstance(value, list | dict)}
    plain |= {key: len(value) for key, value in found.items() if isinstance(value, list)}
    shell.output.record(plain, {key: _reader(key) for key in plain})


def _reader(key: str) -> Column:
    return lambda found: readable(key, found[key])


def readable(key: str, value: object) -> object:
    """Return a figure of the server as people read it; keys that end in `bytes` are sizes."""
    return size(float(value)) if key.endswith("bytes") and isinstance(value, int | float) else value


def sync(
    shell: Shell,
    folder: Annotated[Path | None, typer.Option(help="Where the records wait; else where tracking keeps them.")] = None,
    timeout: Annotated[float, typer.Option(help="Most seconds to try.", min=0)] = 60.0,
) -> None:
    """Send what training scripts logged while the server was away; nothing is doubled."""
    tracking = import_module("modelwright.tracking")
    found = tracking.sync(shell.url, shell.token, shell.project, folder=folder, timeout_s=timeout)
    shell.output.rows(
        found,
        {
            "SERVER": lambda one: one.url,
            "PROJECT": lambda one: one.project,
            "SENT": lambda one: one.sent,
            "LEFT": lambda one: "nothing" if one.is_complete else "some, kept on disk",
        },
        empty="nothing waits to be sent",
    )
    if not all(one.is_complete for one in found):
        raise UnavailableError("a server did not take everything; see that it answers, then sync again")


def version(shell: Shell) -> None:
    """Show the versions of this program and, if it answers, of the server."""
    versions = {"modelwright": __version__}
    try:
        versions["server"] = str(shell.client.info().get("version", ""))
    except ModelwrightError:
        versions["server"] = "does not answer"
    text = "\n".join(f"{name} {number}" for name, number in versions.items())
    shell.output.line(versions, text)
