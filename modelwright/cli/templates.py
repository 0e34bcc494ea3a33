"""`template`: ready-made architectures, and any description as a table."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.output import Format
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import counted
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from services.train_svc.engine.summary import Row, Summary

NAME = typer.Argument(metavar="NAME", help="Name of a template.")
MODEL = typer.Argument(metavar="MODEL", help="NAME, NAME:SIZE or the path of a YAML file.")
SIZE = typer.Option(help="One of its standard sizes.")
AT = typer.Option("--at", metavar="NAME=NUMBER", help="A number for a size that differs from call to call: time=1000.")


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Templates: architectures by name, and yours as a table.")
    app.add_typer(group, name="template")
    command(group, "list")(list_templates)
    command(group, "show")(show)
    command(group, "options")(options)
    command(group, "blocks")(blocks)
    command(group, "diff")(diff)
    command(group, "summary")(summary)


def _engine(module: str) -> Any:  # noqa: ANN401 - a module
    return import_module(f"services.train_svc.engine.{module}")


def list_templates(shell: Shell) -> None:
    """List the templates."""
    found = [
        {"name": each.name, "title": each.title, "domain": each.domain, "sizes": list(each.sizes), "paper": each.paper}
        for each in sorted(_engine("templates").templates(), key=lambda each: (each.domain, each.name))
    ]
    shell.output.rows(found, {key.upper(): lambda row, key=key: row[key] for key in found[0]})  # type: ignore[misc]  # a default binds the key


def show(shell: Shell, name: Annotated[str, NAME], size: Annotated[str, SIZE] = "") -> None:
    """Show a template as the YAML that it stands for."""
    description = _engine("sources").find(f"{name}:{size}" if size else name)
    shell.output.line(description.to_data(), str(description).rstrip())


FIELDS: dict[str, Any] = {
    "NAME": lambda field: field.name,
    "TYPE": lambda field: field.kind,
    "DEFAULT": lambda field: field.default,
    "WHAT": lambda field: field.text,
}


def options(shell: Shell, name: Annotated[str, NAME]) -> None:
    """Show the options of a template: type, default, what each does."""
    shell.output.rows(_engine("reference").fields(_engine("templates").template(name).options), FIELDS)


def blocks(
    shell: Shell, kind: Annotated[str, typer.Argument(metavar="[KIND]", help="Show the fields of this one.")] = ""
) -> None:
    """List the blocks that a YAML file may use, or show the fields of one."""
    reference = _engine("reference")
    if kind:
        shell.output.rows(reference.fields(reference.block_class(kind)), FIELDS)
        return
    found = [{"kind": each, "what": text} for each, text in reference.block_kinds().items()]
    shell.output.rows(found, {"KIND": lambda row: row["kind"], "WHAT": lambda row: row["what"]})


def diff(
    shell: Shell,
    first: Annotated[str, typer.Argument(metavar="A", help="NAME, NAME:SIZE or the path of a YAML file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The other.")],
) -> None:
    """Show in which lines two architectures differ, and their parameters."""
    one, two = _engine("sources").find(first), _engine("sources").find(second)
    lines = _engine("summary").differences(one, two)
    counts = [each.root.parameter_count for each in (one, two)]
    ending = [f"parameters: {counts[0]:,} in {first}, {counts[1]:,} in {second}"]
    shell.output.line({"lines": lines, "parameters": counts}, "\n".join(lines + ending))


def summary(shell: Shell, model: Annotated[str, MODEL], at: Annotated[list[str] | None, AT] = None) -> None:
    """Show blocks, shapes, parameters and multiply-adds of one sample."""
    found: Summary = _engine("summary").summarize(_engine("sources").find(model), _sizes(at or []))
    if shell.output.format is not Format.TABLE:
        shell.output.value(found)
        return
    shell.output.rows(found.rows, COLUMNS)
    shell.output.remark(_ending(found))


def _sizes(pairs: list[str]) -> dict[str, int]:
    sizes = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        if not number.isdigit() or not int(number):
            raise InvalidError(f"--at got {pair!r}, wanted a name and a number above 0 such as time=1000", field="at")
        sizes[name] = int(number)
    return sizes


def _shape(row: "Row") -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in row.output)}]"


COLUMNS: dict[str, Any] = {
    "BLOCK": lambda row: "  " * row.depth + row.name,
    "KIND": lambda row: row.kind,
    "OUTPUT": _shape,
    "PARAMETERS": lambda row: f"{row.parameters:,}" if row.parameters else "",
    "MULTIPLY-ADDS": lambda row: counted(row.multiply_adds) if row.multiply_adds else "",
}


def _ending(found: "Summary") -> str:
    sizes = "".join(f", {name} = {number}" for name, number in found.sizes.items())
    buffers = f" and {found.buffers:,} numbers that are not trained" if found.buffers else ""
    cost = f"{counted(found.multiply_adds)} multiply-adds a sample{sizes}"
    return f"{found.name}: {found.parameters:,} parameters{buffers}; {cost}"
