"""`ps`, `logs`, `cancel`: what runs."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from modelwright.cli.shell import Shell, command
from modelwright.cli.text import seconds
from services.common.errors import NotFoundError

if TYPE_CHECKING:
    from modelwright.client.records import Job, LogLine


def add(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "ps")(ps)
    command(app, "logs")(logs)
    command(app, "cancel")(cancel)


def ps(
    shell: Shell,
    all_states: Annotated[bool, typer.Option("--all", "-a", help="Also jobs that have ended.")] = False,
    subject: Annotated[str, typer.Option(help="Only jobs about this run, dataset or model.")] = "",
    limit: Annotated[int, typer.Option(help="Most jobs shown.", min=1)] = 50,
) -> None:
    """List jobs: state, progress, time left, or why they wait."""
    states = () if all_states else ("queued", "running")
    found = islice(shell.client.jobs.list(states=states, subject=subject, page_size=min(limit, 1000)), limit)
    shell.output.rows(
        found,
        {
            "ID": lambda job: job.id,
            "KIND": lambda job: job.kind,
            "SUBJECT": lambda job: job.subject,
            "STATE": lambda job: job.state,
            "PROGRESS": lambda job: f"{job.progress:.0%}" if job.state == "running" else "",
            "LEFT": lambda job: seconds(job.eta_s),
            "WORKER": lambda job: job.worker,
            "ABOUT": about,
        },
        empty="no jobs" if all_states else "no jobs at work; see `modelwright ps --all` for those that ended",
    )


def about(job: "Job") -> str:
    """Return the last word of a job: its error, why it waits, or what it does."""
    if job.state == "queued":
        place = f"position {job.queue_position}" if job.queue_position else ""
        return ", ".join(part for part in (place, job.waiting_reason) if part)
    return job.error or job.message


def logs(
    shell: Shell,
    target: Annotated[str, typer.Argument(metavar="JOB|RUN", help="A job id or a run id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job has ended.")] = False,
    after: Annotated[int, typer.Option(help="Only lines after this number.", min=0)] = 0,
) -> None:
    """Show the log of a job or of a run's last job."""
    jobs = shell.client.jobs
    job_id = job_of(shell, target)
    lines = jobs.follow_log(job_id, after_seq=after) if follow else iter(jobs.log(job_id, after_seq=after))
    for line in lines:
        shell.output.line(line, log_text(line))
    if follow:
        jobs.get(job_id).successful()


def log_text(line: "LogLine") -> str:
    """Return a line of a log as people read it."""
    stamp = line.time.astimezone().strftime("%H:%M:%S ") if line.time else ""
    mark = "! " if line.stream == "stderr" else ""
    return f"{stamp}{mark}{line.text.rstrip()}"


def cancel(
    shell: Shell,
    target: Annotated[str, typer.Argument(metavar="JOB|RUN|LIFECYCLE", help="Id of what shall stop.")],
) -> None:
    """Ask a job, a run or a lifecycle to stop; its last checkpoint is kept."""
    if target.startswith("job_"):
        state = shell.client.jobs.cancel(target).state
    elif target.startswith("run_"):
        shell.client.runs.cancel(target)
        state = shell.client.runs.get(target).state
    else:
        state = shell.client.lifecycles.cancel(target).state
    text = (
        f"{target} has {state} already"
        if state in ("succeeded", "failed")
        else f"{target} was asked to stop; it is {state}"
    )
    shell.output.line({"id": target, "state": state}, text)


def job_of(shell: Shell, target: str) -> str:
    """Return the job that a job id or a run id stands for."""
    if not target.startswith("run_"):
        return target
    run = shell.client.runs.get(target)
    if not run.job_id:
        raise NotFoundError(f"run {target} is carried out by a program of its own; its log is there, not here")
    return run.job_id
