"""`model`: the registry."""

from pathlib import Path
from typing import Annotated

import typer

from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import short, size

NAME = typer.Argument(metavar="NAME", help="Name of the model.")
REF = typer.Argument(metavar="REF", help="NAME, NAME/NUMBER, NAME@ALIAS, models:/NAME@ALIAS or sha256:…")
ALIAS = typer.Argument(metavar="ALIAS", help="For example champion.")
VERSION = typer.Argument(metavar="VERSION", help="A number, a digest or another alias.")
DETAILS: dict[str, Column] = {
    "model": lambda version: f"{version.name}/{version.number}",
    "digest": lambda version: version.digest,
    "variant": lambda version: version.variant,
    "aliases": lambda version: version.aliases,
    "parent": lambda version: version.parent,
    "run": lambda version: version.run_id,
    "dataset": lambda version: version.dataset_digest,
    "size": lambda version: size(sum(file.size for file in version.files)),
    "metrics": lambda version: {
        key: value.get("value") if isinstance(value, dict) else value
        for key, value in ((version.card or {}).get("metrics") or {}).items()
    },
    "verdict": lambda version: ((version.card or {}).get("verdict") or {}).get("reason"),
    "created": lambda version: version.created_at,
}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Models: immutable versions, aliases, lineage.")
    app.add_typer(group, name="model")
    command(group, "list")(list_models)
    command(group, "show")(show)
    command(group, "history")(history)
    command(group, "lineage")(lineage)
    command(group, "pull")(pull)
    alias = typer.Typer(no_args_is_help=True, help="Names that point at versions, such as champion.")
    group.add_typer(alias, name="alias")
    command(alias, "set")(alias_set)
    command(alias, "delete")(alias_delete)


def list_models(
    shell: Shell, name: Annotated[str, typer.Argument(help="Show the versions of this model.")] = ""
) -> None:
    """List models, or the versions of one."""
    if name:
        shell.output.rows(
            shell.client.models.versions(name),
            {
                "VERSION": lambda version: f"{version.name}/{version.number}",
                "VARIANT": lambda version: version.variant,
                "ALIASES": lambda version: version.aliases,
                "RUN": lambda version: version.run_id,
                "CREATED": lambda version: version.created_at,
                "DIGEST": lambda version: short(version.digest),
            },
        )
        return
    shell.output.rows(
        shell.client.models.list(),
        {
            "NAME": lambda model: model.name,
            "VERSIONS": lambda model: model.versions,
            "NEWEST": lambda model: model.latest.variant if model.latest else None,
            "ALIASES": lambda model: {alias: short(digest) for alias, digest in model.aliases.items()},
            "CREATED": lambda model: model.latest.created_at if model.latest else None,
        },
        empty="no models yet; train one with `modelwright apply` or log one with Run.log_model",
    )


def show(shell: Shell, ref: Annotated[str, REF]) -> None:
    """Show a version: digest, figures, where it came from."""
    shell.output.record(shell.client.models.resolve(ref), DETAILS)


def history(shell: Shell, name: Annotated[str, NAME]) -> None:
    """Show who moved which alias when and why."""
    shell.output.rows(
        shell.client.models.events(name),
        {
            "TIME": lambda event: event.time,
            "ALIAS": lambda event: event.alias,
            "FROM": lambda event: short(event.from_digest),
            "TO": lambda event: short(event.to_digest) or "deleted",
            "WHO": lambda event: event.actor,
            "WHY": lambda event: event.reason,
        },
        empty="no alias of this model was ever set",
    )


def lineage(
    shell: Shell,
    thing: Annotated[str, typer.Argument(help="A model REF, a digest, a run, deployment or prediction id.")],
) -> None:
    """Show what something came from and led to."""
    is_ref = thing.startswith("models:/") or "@" in thing or "/" in thing
    found = shell.client.lineage(shell.client.models.resolve(thing).digest if is_ref else thing)
    if not shell.is_for_people:
        shell.output.value(found)
        return
    titles = {node.id: f"{node.kind.replace('_', ' ')} {short(node.title or node.id)}" for node in found.nodes}
    shell.output.rows(
        found.edges,
        {
            "FROM": lambda edge: titles.get(edge.from_id, edge.from_id),
            "RELATION": lambda edge: edge.relation.replace("_", " "),
            "TO": lambda edge: titles.get(edge.to_id, edge.to_id),
        },
        empty=", ".join(titles.values()) or "nothing is known of it",
    )


def pull(
    shell: Shell,
    ref: Annotated[str, REF],
    folder: Annotated[Path, typer.Argument(help="New folder for the package.")],
) -> None:
    """Write a version's package into a folder, every file checked against its digest."""
    version = shell.client.models.pull(ref, folder)
    text = f"{version.name}/{version.number} ({short(version.digest)}) is in {folder}"
    shell.output.line({"digest": version.digest, "folder": str(folder)}, text)


def alias_set(
    shell: Shell,
    name: Annotated[str, NAME],
    alias: Annotated[str, ALIAS],
    version: Annotated[str, VERSION],
    *,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
    expect: Annotated[str | None, typer.Option(help="Refuse unless the alias points at this digest now.")] = None,
) -> None:
    """Point an alias at a version."""
    model = shell.client.models.set_alias(name, alias, version, reason=reason, expected_digest=expect)
    digest = model.aliases.get(alias, "")
    shell.output.line(model, f"{name}@{alias} points at {short(digest) or version}")


def alias_delete(
    shell: Shell,
    name: Annotated[str, NAME],
    alias: Annotated[str, ALIAS],
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
) -> None:
    """Remove an alias; the version stays."""
    shell.client.models.delete_alias(name, alias, reason=reason)
    shell.output.line({"deleted": f"{name}@{alias}"}, f"{name}@{alias} is deleted")
