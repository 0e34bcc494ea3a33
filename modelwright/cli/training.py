"""`train`: training on this machine, with no platform running."""

import typer

from modelwright.cli import training_curve, training_measures, training_run, training_search
from modelwright.cli.shell import command


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Training on this machine, from a YAML file.")
    app.add_typer(group, name="train")
    command(group, "run")(training_run.run)
    command(group, "search")(training_search.search)
    command(group, "fit-batch")(training_measures.fit_batch)
    command(group, "sensitivity")(training_measures.sensitivity)
    command(group, "curve")(training_curve.curve)
