"""`dataset`: data in, data seen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelwright.cli.bars import following, uploading
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import short, size
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from modelwright.client.records import DatasetVersion

REF = typer.Argument(metavar="REF", help="NAME (its newest version), NAME:NUMBER or sha256:…")
VERSION: dict[str, Column] = {
    "name": lambda version: f"{version.name}:{version.number}",
    "digest": lambda version: version.digest,
    "samples": lambda version: version.samples,
    "size": lambda version: size(version.bytes),
    "parent": lambda version: version.parent,
    "created": lambda version: version.created_at,
    "splits": lambda version: (version.schema or {}).get("splits"),
    "labels": lambda version: (version.schema or {}).get("labels"),
    "media type": lambda version: (version.schema or {}).get("media_type"),
    "warnings": lambda version: (version.statistics or {}).get("warnings"),
}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Datasets and their immutable versions.")
    app.add_typer(group, name="dataset")
    command(group, "push")(push)
    command(group, "list")(list_datasets)
    command(group, "show")(show)
    command(group, "samples")(samples)
    command(group, "delete")(delete)


def push(
    shell: Shell,
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    source: Annotated[Path, typer.Argument(help="A folder, or a tar, tar.gz or zip of one.")],
    *,
    split: Annotated[
        str, typer.Option(help="Fractions, for example train=0.7,validation=0.15,test=0.15.", metavar="NAME=F,…")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    stratify: Annotated[bool, typer.Option(help="Keep class shares equal over the splits.")] = True,
    parent: Annotated[str, typer.Option(help="Version that this one was made from.")] = "",
    wait: Annotated[bool, typer.Option(help="Stay until the version is committed.")] = True,
) -> None:
    """Upload a folder or archive and commit it as a new version; a cut upload goes on where it stopped."""
    fractions = read_fractions(split)
    datasets = shell.client.datasets
    with uploading(shell, source.name) as progress:
        upload = shell.client.uploads.push(source, progress=progress)
    job = datasets.commit(name, [upload.id], fractions=fractions, seed=seed, stratify=stratify, parent=parent)
    if not wait:
        shell.output.line(job, f"{job.id} commits {name}; follow it with `modelwright logs -f {job.id}`")
        return
    following(shell, job, f"commit {name}")
    shell.output.record(datasets.wait(job), VERSION)


def read_fractions(text: str) -> dict[str, float]:
    """Return `train=0.8,test=0.2` as a mapping.

    Raises:
        InvalidError: a part is no NAME=FRACTION.
    """
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise InvalidError(f"{part!r} is no split; write NAME=FRACTION, as in train=0.8", field="split") from error
    return found


def list_datasets(
    shell: Shell, name: Annotated[str, typer.Argument(help="Show the versions of this dataset.")] = ""
) -> None:
    """List datasets, or the versions of one."""
    if name:
        shell.output.rows(
            shell.client.datasets.versions(name),
            {
                "VERSION": lambda version: f"{version.name}:{version.number}",
                "SAMPLES": lambda version: version.samples,
                "SIZE": lambda version: size(version.bytes),
                "CREATED": lambda version: version.created_at,
                "DIGEST": lambda version: short(version.digest),
            },
        )
        return
    shell.output.rows(
        shell.client.datasets.list(),
        {
            "NAME": lambda dataset: dataset.name,
            "VERSIONS": lambda dataset: dataset.versions,
            "SAMPLES": lambda dataset: _latest(dataset.latest, "samples"),
            "SIZE": lambda dataset: size(dataset.latest.bytes) if dataset.latest else "",
            "CREATED": lambda dataset: _latest(dataset.latest, "created_at"),
            "DIGEST": lambda dataset: short(dataset.latest.digest) if dataset.latest else "",
        },
        empty="no datasets yet; push one with `modelwright dataset push NAME FOLDER`",
    )


def _latest(version: "DatasetVersion | None", field: str) -> object:
    return getattr(version, field) if version else None


def show(shell: Shell, ref: Annotated[str, REF]) -> None:
    """Show a version: extent, splits, labels, digest."""
    shell.output.record(shell.client.datasets.get(ref), VERSION)


def samples(
    shell: Shell,
    ref: Annotated[str, REF],
    *,
    split: Annotated[str, typer.Option(help="Only this split.")] = "",
    label: Annotated[str, typer.Option(help="Only this label.")] = "",
    limit: Annotated[int, typer.Option(help="Most samples shown.", min=1)] = 50,
    save: Annotated[Path | None, typer.Option(help="Write the samples' bytes into this folder.")] = None,
) -> None:
    """List samples of a version, and keep their bytes if asked."""
    datasets = shell.client.datasets
    found = [
        sample
        for sample, _ in zip(
            datasets.samples(ref, split=split, label=label, page_size=min(limit, 1000)), range(limit), strict=False
        )
    ]
    if save:
        save.mkdir(parents=True, exist_ok=True)
        for sample in found:
            # The id is a path in the archive; here it becomes one plain file name.
            (save / sample.id.replace("/", "_").lstrip(".")).write_bytes(datasets.read(ref, sample.id))
    shell.output.rows(
        found,
        {
            "ID": lambda sample: sample.id,
            "SPLIT": lambda sample: sample.split,
            "LABELS": lambda sample: sample.labels,
            "TYPE": lambda sample: sample.media_type,
            "SIZE": lambda sample: size(sample.size),
            "SHAPE": lambda sample: "x".join(map(str, sample.shape)),
        },
        empty="no such samples",
    )


def delete(
    shell: Shell,
    ref: Annotated[str, REF],
    force: Annotated[bool, typer.Option("--force", help="Even if runs or models came from it.")] = False,
) -> None:
    """Delete a version; its bytes go with the next collection unless something else needs them."""
    shell.client.datasets.delete(ref, force=force)
    shell.output.line({"deleted": ref}, f"{ref} is deleted")
