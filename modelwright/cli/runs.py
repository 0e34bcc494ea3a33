"""`run`: trainings, ours and others'."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from modelwright.cli.bars import following
from modelwright.cli.documents import read_document
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, command
from modelwright.cli.text import number, short

ID = typer.Argument(metavar="RUN", help="A run id.")
RUN: dict[str, Column] = {
    "id": lambda run: run.id,
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "error": lambda run: run.error,
    "metrics": lambda run: "\n".join(
        f"{key} {number(point.value)} (step {point.step})" for key, point in sorted(run.metrics.items())
    ),
    "params": lambda run: "\n".join(f"{key} {value}" for key, value in sorted(run.params.items())),
    "tags": lambda run: run.tags,
    "dataset": lambda run: run.dataset_digest,
    "engine": lambda run: run.engine,
    "seed": lambda run: run.seed if run.engine else None,
    "code": lambda run: run.code_version,
    "job": lambda run: run.job_id,
    "created": lambda run: run.created_at,
    "started": lambda run: run.started_at,
    "finished": lambda run: run.finished_at,
}


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Runs: what was trained, with what, and how it went.")
    app.add_typer(group, name="run")
    command(group, "list")(list_runs)
    command(group, "show")(show)
    command(group, "train")(train)
    command(group, "resume")(resume)
    command(group, "delete")(delete)


def list_runs(
    shell: Shell,
    filter: Annotated[
        str, typer.Option("--filter", "-f", help="As in: metrics.accuracy > 0.9 and params.lr = '0.001'")
    ] = "",
    order_by: Annotated[str, typer.Option(help="As in: metrics.accuracy desc")] = "",
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Show this metric; may repeat.")] = None,
    limit: Annotated[int, typer.Option(help="Most runs shown.", min=1)] = 30,
) -> None:
    """List runs, newest first."""
    found = shell.client.runs.list(filter=filter, order_by=order_by, page_size=min(limit, 1000))
    columns: dict[str, Column] = {
        "ID": lambda run: run.id,
        "NAME": lambda run: run.name,
        "STATE": lambda run: run.state,
    }
    for key in metric or []:
        columns[key] = _reader(key)
    if not metric:
        columns["METRICS"] = lambda run: {key: point.value for key, point in sorted(run.metrics.items())[:4]}
    columns["CREATED"] = lambda run: run.created_at
    shell.output.rows(islice(found, limit), columns, empty="no such runs")


def _reader(key: str) -> Column:
    return lambda run: run.metrics[key].value if key in run.metrics else None


def show(shell: Shell, run_id: Annotated[str, ID]) -> None:
    """Show a run: its parameters, last metrics, dataset, code, times."""
    shell.output.record(shell.client.runs.get(run_id), RUN)


def train(
    shell: Shell,
    dataset: Annotated[str, typer.Argument(help="NAME, NAME:NUMBER or sha256:… of the dataset version.")],
    *,
    spec: Annotated[Path, typer.Option("--spec", "-f", help="YAML file of the training specification.")],
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    queue: Annotated[str, typer.Option(help="Queue: cpu or gpu.")] = "",
    priority: Annotated[int, typer.Option(help="Higher runs first.")] = 0,
    follow: Annotated[bool, typer.Option(help="Stay until the run has ended.")] = True,
) -> None:
    """Queue a training on the platform's workers."""
    value = read_document(spec)
    value = value["train"] if isinstance(value.get("train"), dict) else value
    run, job = shell.client.runs.train(name or spec.stem, value, dataset, queue=queue, priority=priority)
    _follow(shell, run.id, job.id, follow=follow)


def resume(
    shell: Shell,
    run_id: Annotated[str, ID],
    follow: Annotated[bool, typer.Option(help="Stay until the run has ended.")] = True,
) -> None:
    """Go on with a run from its last checkpoint."""
    run, job = shell.client.runs.resume(run_id)
    _follow(shell, run.id, job.id, follow=follow)


def _follow(shell: Shell, run_id: str, job_id: str, *, follow: bool) -> None:
    if follow:
        following(shell, shell.client.jobs.get(job_id), f"run {run_id}")
        shell.output.record(shell.client.runs.get(run_id), RUN)
    else:
        text = f"{run_id} is queued as {job_id}; follow it with `modelwright logs -f {run_id}`"
        shell.output.line({"run": run_id, "job": job_id}, text)


def delete(shell: Shell, run_id: Annotated[str, ID]) -> None:
    """Delete a run; refused while a model came of it."""
    shell.client.runs.delete(run_id)
    shell.output.line({"deleted": run_id}, f"{short(run_id)} is deleted")
