"""What every command is given: the server to talk to and the way to answer."""

import inspect
import json
import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from modelwright.cli.output import Format, Output

if TYPE_CHECKING:
    from modelwright.client import Client

PANEL = "Server and output"
OUTPUT = Annotated[
    Format,
    typer.Option("--output", "-o", help="How to write the answer.", rich_help_panel=PANEL),
]


def option(flag: str, text: str) -> Any:  # noqa: ANN401 - an annotation
    """Return the annotation of an option of the server; the environment is read at the root, so that it comes last."""
    shown = f"{text} [env var: MODELWRIGHT_{flag.upper()}]"
    return Annotated[str | None, typer.Option(f"--{flag}", help=shown, rich_help_panel=PANEL)]


SHARED: dict[str, Any] = {
    "url": option("url", "Address of the server."),
    "token": option("token", "API token."),
    "project": option("project", "Project."),
    "output": OUTPUT,
}


def here() -> str | None:
    """Return the address of the platform that `modelwright up` started from this folder, if it runs."""
    home = Path(os.environ.get("MODELWRIGHT_HOME") or ".modelwright")
    try:
        return str(json.loads((home / "platform.json").read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Shell:
    """The server and the output that the user chose."""

    def __init__(
        self, *, output: Format, url: str | None = None, token: str | None = None, project: str | None = None
    ) -> None:
        self.url = url
        self.token = token
        self.project = project
        self.output = Output(output)
        self._client: Client | None = None

    @property
    def client(self) -> "Client":
        """The client, made when it is first needed: most of `--help` never is."""
        if self._client is None:
            self._client = import_module("modelwright.client").Client(self.url or here(), self.token, self.project)
        return self._client

    @property
    def is_for_people(self) -> bool:
        """Whether tables and bars may be shown on the terminal."""
        return self.output.format is Format.TABLE


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: ANN401
    """Register a function whose first parameter is a `Shell`; the options that make one are added to its own."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]

        @wraps(function)
        def run(*, ctx: typer.Context, output: Format, **given: object) -> None:
            root: dict[str, str | None] = ctx.obj or {}
            chosen = {key: cast(str | None, given.pop(key)) or root.get(key) for key in ("url", "token", "project")}
            function(Shell(output=output, **chosen), **given)

        shared = [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=Format.TABLE if key == "output" else None,
                annotation=kind,
            )
            for key, kind in SHARED.items()
        ]
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        signature = inspect.Signature([context, *parameters, *shared])
        run.__signature__ = signature  # type: ignore[attr-defined] # typer reads it; the stubs do not know it
        run.__annotations__ = {key: parameter.annotation for key, parameter in signature.parameters.items()}
        app.command(name, **settings)(run)
        return function

    return register
