"""`deploy` and `predict`: models at work."""

import mimetypes
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.documents import read_text
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import number, short
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from modelwright.client.records import Deployment, Prediction


def _state(deployment: "Deployment") -> str:
    """Return what a deployment is doing."""
    if deployment.desired and (not deployment.active or deployment.desired.id != deployment.active.id):
        return f"revision {deployment.desired.number} {deployment.desired.state}"
    return deployment.active.state if deployment.active else "empty"


NAME = typer.Argument(metavar="NAME", help="Name of the deployment.")
WAIT = "Most seconds to wait until it takes the traffic; 0 returns at once."
DETAILS: dict[str, Column] = {
    "name": lambda deployment: deployment.name,
    "state": _state,
    "model": lambda deployment: deployment.model_ref,
    "serves": lambda deployment: deployment.active.model_digest if deployment.active else None,
    "revision": lambda deployment: deployment.active.number if deployment.active else None,
    "run": lambda deployment: deployment.active.run_id if deployment.active else None,
    "dataset": lambda deployment: deployment.active.dataset_digest if deployment.active else None,
    "REST": lambda deployment: [endpoint.rest_url for endpoint in deployment.endpoints],
    "gRPC": lambda deployment: [endpoint.grpc_address for endpoint in deployment.endpoints],
    "error": lambda deployment: deployment.desired.error if deployment.desired else None,
}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Deployments: versions that answer.")
    app.add_typer(group, name="deploy")
    command(group, "apply")(apply)
    command(group, "list")(list_deployments)
    command(group, "show")(show)
    command(group, "rollback")(rollback)
    command(group, "delete")(delete)
    command(app, "predict")(predict)


def apply(
    shell: Shell,
    name: Annotated[str, NAME],
    model: Annotated[str, typer.Argument(help="For example models:/digits@champion or sha256:…")],
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of the server, as threads=2.")] = None,
    wait_s: Annotated[float, typer.Option("--wait", help=WAIT, min=0)] = 120.0,
) -> None:
    """Make a deployment or move it to another version; it takes the traffic once its golden inputs agree."""
    shell.client.deployments.apply(name, model, options=_options(option or []))
    shell.output.record(shell.client.deployments.wait(name, wait_s), DETAILS)


def _options(pairs: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InvalidError(f"{pair!r} is no option; write KEY=VALUE, as in threads=2", field="option")
        found[key] = import_module("yaml").safe_load(value)
    return found


def list_deployments(shell: Shell) -> None:
    """List deployments."""
    shell.output.rows(
        shell.client.deployments.list(),
        {
            "NAME": lambda deployment: deployment.name,
            "STATE": _state,
            "MODEL": lambda deployment: deployment.model_ref,
            "DIGEST": lambda deployment: short(deployment.active.model_digest) if deployment.active else "",
            "REVISION": lambda deployment: deployment.active.number if deployment.active else None,
            "REST": lambda deployment: [endpoint.rest_url for endpoint in deployment.endpoints],
        },
        empty="no deployments yet; make one with `modelwright deploy apply NAME MODEL`",
    )


def show(shell: Shell, name: Annotated[str, NAME]) -> None:
    """Show a deployment: what it serves, where, and its revisions."""
    shell.output.record(shell.client.deployments.get(name), DETAILS)
    if shell.is_for_people:
        shell.output.rows(
            shell.client.deployments.revisions(name),
            {
                "REVISION": lambda revision: revision.number,
                "STATE": lambda revision: revision.state,
                "MODEL": lambda revision: f"{revision.model_name}/{revision.model_number}",
                "DIGEST": lambda revision: short(revision.model_digest),
                "CREATED": lambda revision: revision.created_at,
                "ERROR": lambda revision: revision.error,
            },
        )


def rollback(
    shell: Shell,
    name: Annotated[str, NAME],
    revision: Annotated[int, typer.Option(help="To this revision; else to the one before.", min=0)] = 0,
    wait_s: Annotated[float, typer.Option("--wait", help=WAIT, min=0)] = 120.0,
) -> None:
    """Go back to an earlier revision."""
    shell.client.deployments.rollback(name, revision)
    shell.output.record(shell.client.deployments.wait(name, wait_s), DETAILS)


def delete(shell: Shell, name: Annotated[str, NAME]) -> None:
    """Drain and delete a deployment."""
    shell.client.deployments.delete(name)
    shell.output.line({"deleted": name}, f"{name} is deleted")


def predict(
    shell: Shell,
    name: Annotated[str, NAME],
    file: Annotated[Path | None, typer.Argument(help="A picture.")] = None,
    json_text: Annotated[
        str, typer.Option("--json", help='{"inputs": […]} or {"instances": […]}; @FILE reads it from a file.')
    ] = "",
) -> None:
    """Ask a deployment for a prediction."""
    if (file is None) == (not json_text):
        raise InvalidError("give either a FILE or --json, one of them", field="file")
    shell.output.record(_predict_file(shell, name, file) if file else _predict_json(shell, name, json_text), ANSWER)


ANSWER: dict[str, Column] = {
    "label": lambda found: [answer.label for answer in found.predictions],
    "score": lambda found: [number(answer.score) for answer in found.predictions],
    "next": lambda found: "\n".join(_runners_up(found)),
    "model": lambda found: found.model,
    "digest": lambda found: found.model_digest,
    "run": lambda found: found.run,
    "dataset": lambda found: found.dataset,
    "prediction": lambda found: found.id,
    "latency": lambda found: f"{found.latency_ms:.2f} ms",
}


def _runners_up(found: "Prediction") -> list[str]:
    return [
        ", ".join(f"{score.label} {number(score.score)}" for score in answer.top[1:4])
        for answer in found.predictions
        if len(answer.top) > 1
    ]


def _predict_file(shell: Shell, name: str, file: Path) -> "Prediction":
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidError(f"{file} cannot be read ({error.strerror}); check the path", field="file") from error
    media_type = mimetypes.guess_type(file.name)[0] or ""
    if not media_type.startswith("image/"):
        raise InvalidError(f"{file} is no picture by its name; give a .png or .jpg, or use --json", field="file")
    return shell.client.deployments.predict_image(name, data, media_type)


def _predict_json(shell: Shell, name: str, text: str) -> "Prediction":
    json = import_module("json")
    try:
        body = json.loads(read_text(Path(text[1:])) if text.startswith("@") else text)
    except ValueError as error:
        raise InvalidError(f"--json is no JSON: {error}", field="json") from error
    if not isinstance(body, dict):
        raise InvalidError('--json is no object; write {"inputs": […]} or {"instances": […]}', field="json")
    return shell.client.deployments.predict(name, body)
