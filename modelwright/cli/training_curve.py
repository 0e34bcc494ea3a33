"""`train curve`: how a run went, in the terminal or as a picture."""

import json
from pathlib import Path
from typing import Annotated

import typer

from modelwright.cli.shell import Shell
from modelwright.cli.training_chart import Points, chart, chart_svg
from modelwright.cli.training_file import engine
from modelwright.cli.training_folder import SPEC
from services.common.errors import InvalidError, NotFoundError
from services.common.names import nearest

PREFIX = "validation_"
LOSS, VALIDATION_LOSS = "train_loss", "validation_loss"
ENDS = ("_ci_low", "_ci_high")
RUN = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run, or its curve.jsonl.")]
METRIC = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Show this one; may repeat. [default: the loss and what was evaluated]"),
]
SVG = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the curves as a picture.")]


def curve(shell: Shell, folder: RUN, metric: METRIC = None, svg: SVG = None) -> None:
    """Show the curves of a run: loss, and what was measured after each epoch."""
    path = folder / engine("training.run").CURVE if folder.is_dir() else folder
    if not path.is_file():
        raise NotFoundError(f"there is no curve at {path}; give the folder of a run")
    found: dict[str, Points] = engine("sinks").read_curve(path)
    names = choose(found, metric or [], _primary(path.parent))
    if not shell.is_for_people:
        shell.output.value({name: [{"step": step, "value": value} for step, value in found[name]] for name in names})
    else:
        for name in names:
            shell.output.line({}, chart(name, found[name]))
    if svg is not None:
        svg.write_text(chart_svg({name: found[name] for name in names}), "utf-8")
        shell.output.remark(f"written to {svg}")


def choose(found: dict[str, Points], wanted: list[str], primary: str = "") -> list[str]:
    """Return the names of the metrics to show.

    Args:
        found: what there is.
        wanted: by the user, with or without `validation_`; empty: the losses and what the best weights went by.
        primary: the latter; empty: not known, and all that was evaluated is shown.

    Raises:
        NotFoundError: one was not measured; the nearest that was is named.
    """
    for name in wanted:
        if name not in found and f"{PREFIX}{name}" not in found:
            raise NotFoundError(f"{name!r} was not measured{nearest(name, found)}; measured: {', '.join(found)}")
    if wanted:
        return [name if name in found else f"{PREFIX}{name}" for name in wanted]
    evaluated = [name for name in found if name.startswith(PREFIX) and not name.endswith(ENDS)]
    rest = [f"{PREFIX}{primary}"] if primary else [name for name in evaluated if name != VALIDATION_LOSS]
    return [name for name in (LOSS, VALIDATION_LOSS, *rest) if name in found]


def _primary(folder: Path) -> str:
    try:
        loss = json.loads((folder / SPEC).read_text("utf-8"))["loss"]["name"]
        return str(engine("metrics").primary(engine("spec").LossSpec(name=loss))[0])
    except (OSError, ValueError, KeyError, InvalidError):
        return ""
