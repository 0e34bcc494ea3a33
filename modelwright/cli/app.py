"""The command line, put together."""

from typing import Annotated

import typer

from modelwright.cli import datasets, deployments, jobs, lifecycles, models, platform, runs, templates, training
from modelwright.cli.failures import EXIT_CODES


def build() -> typer.Typer:
    """Return the program with all its commands."""
    app = typer.Typer(
        name="modelwright",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EXIT_CODES,
    )
    app.callback()(root)
    for part in (platform, lifecycles, datasets, runs, models, deployments, jobs, templates, training):
        part.add(app)
    return app


def root(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(envvar="MODELWRIGHT_URL", help="Address of the server.")] = None,
    token: Annotated[str | None, typer.Option(envvar="MODELWRIGHT_TOKEN", help="API token.")] = None,
    project: Annotated[str | None, typer.Option(envvar="MODELWRIGHT_PROJECT", help="Project.")] = None,
) -> None:
    """Modelwright: from data to a model that is trained, made small, checked and served."""
    ctx.obj = {"url": url, "token": token, "project": project}
