"""`apply` and `lifecycle`: from data to traffic."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.bars import uploading
from modelwright.cli.documents import parse_document, read_text
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import seconds
from modelwright.cli.watching import result, watch
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from modelwright.client.stages import Lifecycle

ID = typer.Argument(metavar="LIFECYCLE", help="A lifecycle id.")
FOLLOW = typer.Option(help="Show the stages until the last has ended.")


def add(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "apply")(apply)
    group = typer.Typer(no_args_is_help=True, help="Lifecycles that were applied.")
    app.add_typer(group, name="lifecycle")
    command(group, "list")(list_lifecycles)
    command(group, "show")(show)
    command(group, "watch")(watch_lifecycle)
    command(group, "restart")(restart)


def apply(
    shell: Shell,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML file of the lifecycle; - reads standard input.")],
    follow: Annotated[bool, FOLLOW] = True,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check the file and change nothing.")] = False,
) -> None:
    """Carry out a lifecycle: upload its data, train, compress, gate, serve. Unchanged stages are reused.

    Ctrl-C leaves it running; `modelwright lifecycle watch` comes back to it.
    """
    text = read_text(file)
    document = parse_document(text, str(file))
    if not shell.project and isinstance(document.get("project"), str):
        shell.project = document["project"]
    source = _source(document, file.resolve().parent if str(file) != "-" else Path.cwd())
    shell.client.lifecycles.create(text, validate_only=True)
    if validate_only:
        shell.output.line({"valid": True}, f"{file} is sound")
        return
    if source is not None:
        document["data"] = _uploaded(shell, document["data"], source)
    lifecycle = shell.client.lifecycles.create(document)
    _follow(shell, lifecycle, follow=follow)


def _source(document: dict[str, Any], folder: Path) -> Path | None:
    """Return the folder or archive that the document names, looked for beside the document."""
    data = document.get("data")
    stated = data.get("source") if isinstance(data, dict) else None
    if not isinstance(stated, str):
        return None
    source = folder / Path(stated).expanduser()
    if not source.exists():
        raise InvalidError(
            f"data.source: there is no {source}; make it first or correct the path, which counts from the "
            "lifecycle's own folder",
            field="data.source",
        )
    return source


def _uploaded(shell: Shell, data: dict[str, Any], source: Path) -> dict[str, Any]:
    with uploading(shell, source.name) as progress:
        upload = shell.client.uploads.push(source, progress=progress)
    kept = {key: value for key, value in data.items() if key != "source"}
    return {**kept, "uploads": [{"id": upload.id, "digest": upload.digest}]}


def _follow(shell: Shell, lifecycle: "Lifecycle", *, follow: bool) -> None:
    if follow:
        result(shell, watch(shell, lifecycle.id))
    else:
        text = f"{lifecycle.id} is {lifecycle.state}; follow it with `modelwright lifecycle watch {lifecycle.id}`"
        shell.output.line(lifecycle, text)


def list_lifecycles(shell: Shell, limit: Annotated[int, typer.Option(help="Most shown.", min=1)] = 20) -> None:
    """List lifecycles, newest first."""
    shell.output.rows(
        islice(shell.client.lifecycles.list(page_size=limit), limit),
        {
            "ID": lambda lifecycle: lifecycle.id,
            "NAME": lambda lifecycle: lifecycle.name,
            "STATE": lambda lifecycle: lifecycle.state,
            "STAGES": lambda lifecycle: {stage.name: stage.state for stage in lifecycle.stages},
            "TOOK": lambda lifecycle: seconds(lifecycle.duration_s),
            "CREATED": lambda lifecycle: lifecycle.created_at,
        },
        empty="no lifecycles yet; start one with `modelwright apply -f lifecycle.yaml`",
    )


def show(shell: Shell, lifecycle_id: Annotated[str, ID]) -> None:
    """Show a lifecycle and how far it has come."""
    result(shell, shell.client.lifecycles.get(lifecycle_id), strict=False)


def watch_lifecycle(shell: Shell, lifecycle_id: Annotated[str, ID]) -> None:
    """Follow a lifecycle to its end."""
    result(shell, watch(shell, lifecycle_id))


def restart(
    shell: Shell,
    lifecycle_id: Annotated[str, ID],
    from_stage: Annotated[str, typer.Option("--from", help="Stage to run anew; else the first that is not done.")] = "",
    follow: Annotated[bool, FOLLOW] = True,
) -> None:
    """Go on with a lifecycle that failed or was cancelled."""
    _follow(shell, shell.client.lifecycles.restart(lifecycle_id, from_stage), follow=follow)
