"""`train search`: hyper-parameters, trial by trial."""

from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.failures import FAILED, INTERRUPTED
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell, here
from modelwright.cli.text import number, seconds
from modelwright.cli.training_file import DEVICE, FILE, FOLDER, QUIET, RESUME, SET, engine, read_file
from modelwright.cli.training_folder import set_aside
from modelwright.cli.training_stop import leaving_in_order
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from services.train_svc.engine.search.results import SearchResult, TrialRow
    from services.train_svc.engine.search.tools import Tools
    from services.train_svc.engine.training.jobfile import JobFile

SHOWN = 10
BAR, BLOCK = 40, "\N{FULL BLOCK}"
TRIALS = Annotated[int, typer.Option(help="Trials in all; else as the file says.", min=0)]
TRACK = Annotated[bool, typer.Option("--track", help="Log each trial as a run of the platform.")]


def search(
    shell: Shell,
    file: FILE,
    *,
    trials: TRIALS = 0,
    folder: FOLDER = None,
    resume: RESUME = None,
    set: SET = None,
    device: DEVICE = "",
    track: TRACK = False,
    quiet: QUIET = False,
) -> None:
    """Search hyper-parameters as the file's `search` says; stopped or killed, the same command goes on."""
    job = read_file(file, set, device, folder)
    if trials and job.search:
        job = replace(job, search=replace(job.search, trials=trials))
    _prepare(shell, job, resume)
    tools = _tools(shell, job, track=track)
    told = _Told(shell, "" if quiet else engine("search.studies").aim_of(job).metric)
    with leaving_in_order() as asked:
        found: SearchResult = engine("search.searching").search(job, tools=tools, stop=asked, told=told)
    if shell.is_for_people:
        _show(shell, found)
    else:
        shell.output.value(_plain(found))
    if found.stopped:
        shell.output.remark(f"stopped; the search is in {found.folder}. Run the same command to go on")
        raise typer.Exit(INTERRUPTED)
    if found.best is None:
        raise typer.Exit(FAILED)


class _Told:
    """Says how each trial ended; nothing without a metric."""

    def __init__(self, shell: Shell, metric: str) -> None:
        self._shell, self._metric = shell, metric

    def __call__(self, row: "TrialRow") -> None:
        """Say it of one."""
        if self._metric:
            value = f"{self._metric} {number(row.value)}" if row.value is not None else row.error
            params = ", ".join(f"{name}={number(each)}" for name, each in row.params.items())
            self._shell.output.remark(f"trial {row.number} {row.state}: {value}  ({params}; {row.epochs} epochs)")


def _prepare(shell: Shell, job: "JobFile", resume: bool | None) -> None:
    if resume and not (job.folder / engine("search.studies").FILE).exists():
        raise InvalidError(f"there is no search in {job.folder} to go on with; leave out --resume", field="--resume")
    if resume is False and (moved := set_aside(job.folder)):
        shell.output.remark(f"the earlier search is in {moved}")


def _tools(shell: Shell, job: "JobFile", *, track: bool) -> "Tools":
    tools = engine("search.tools")
    server = {"url": shell.url or here(), "token": shell.token, "project": shell.project}
    given: dict[str, Any] = {}
    if job.data.dataset:
        given["open_data"] = partial(import_module("modelwright.cli.training_data").open_for_search, **server)
    if track:
        given["track"] = partial(import_module("modelwright.train.search").tracked, name=job.path.stem, **server)
    made: Tools = tools.Tools(**given)
    return made


def _show(shell: Shell, found: "SearchResult") -> None:
    columns: dict[str, Column] = {"TRIAL": lambda row: row.number, found.metric.upper(): lambda row: row.value}
    columns |= {name.upper(): partial(_param, name) for name in _names(found)}
    columns |= {"EPOCHS": lambda row: row.epochs, "TIME": lambda row: seconds(row.seconds)}
    shell.output.rows(found.ranking[:SHOWN], columns, empty="no trial ran to its end")
    for name, share in found.importance.items():
        width = max(map(len, found.importance))
        shell.output.line({}, f"{name:>{width}} {BLOCK * round(BAR * share):{BAR}} {share:.0%}")
    shell.output.remark(_ending(found))


def _ending(found: "SearchResult") -> str:
    counts = {state: sum(row.state == state for row in found.rows) for state in {row.state: None for row in found.rows}}
    lines = [", ".join(f"{count} {state}" for state, count in counts.items())]
    failed = next((row for row in found.rows if row.state == "failed"), None)
    if failed:
        lines.append(f"trial {failed.number} failed: {failed.error}")
    if found.best:
        lines.append(f"the best is trial {found.best.number}: modelwright train run {found.folder / 'best.yaml'}")
    if found.importance:
        lines.append(f"importance of the parameters: {found.folder / 'importance.svg'}")
    return "\n".join(lines)


def _plain(found: "SearchResult") -> dict[str, Any]:
    rows = [
        {**vars(row), "params": dict(row.params), "metrics": dict(row.metrics), "folder": str(row.folder)}
        for row in found.rows
    ]
    best = found.best.number if found.best else None
    return {
        "metric": found.metric,
        "best": best,
        "trials": rows,
        "importance": dict(found.importance),
        "folder": str(found.folder),
    }


def _names(found: "SearchResult") -> list[str]:
    return list(dict.fromkeys(name for row in found.rows for name in row.params))


def _param(name: str, row: "TrialRow") -> object:
    return row.params.get(name)
