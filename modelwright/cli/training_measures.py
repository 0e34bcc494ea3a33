"""`train fit-batch` and `train sensitivity`: what a model takes, and in which formats, by real steps."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelwright.cli.output import Column
from modelwright.cli.shell import Shell
from modelwright.cli.training_file import DEVICE, FILE, SET, engine, make_trainer, open_data, read_file
from services.common.errors import InvalidError

if TYPE_CHECKING:
    from services.train_svc.engine.memory.fitting import FitBatch
    from services.train_svc.engine.precision import Policy
    from services.train_svc.engine.training.trainer import Trainer

PLAIN = {"precision": "fp32", "compile": "off", "memory_budget": "", "accumulate": 1}
"""How a model trains whose operators are measured one by one."""
ROOM = 0.9
"""Share of a GPU's memory that a run may count on."""
BUDGET = Annotated[
    str, typer.Option(metavar="SIZE", help="Memory that the run may take, such as 8GiB; else the file's, or the GPU's.")
]


def fit_batch(shell: Shell, file: FILE, budget: BUDGET = "", set: SET = None, device: DEVICE = "") -> None:
    """Find the largest batch that fits into memory, by real steps."""
    job = read_file(file, set, device)
    wanted = engine("spec").MemoryBudget(budget) if budget else job.train.memory_budget
    trainer = make_trainer(job, open_data(shell, job), display="silent")
    size = wanted.size_bytes or _device_bytes(trainer)
    found: FitBatch = engine("training.assembly").fit_batch_of(None, trainer.spec, trainer.material, size)
    if not shell.is_for_people:
        rows = [
            {"batch": batch, "peak_bytes": _finite(probe.peak_bytes), "seconds": _finite(probe.seconds)}
            for batch, probe in found.rows
        ]
        shell.output.value({"batch": found.batch, "peak_bytes": found.peak_bytes, "measured": rows})
        return
    shell.output.line({}, found.table())
    shell.output.line({}, f"batch_size: {found.batch}")


def sensitivity(
    shell: Shell,
    file: FILE,
    *,
    out: Annotated[Path, typer.Option(help="The policy file to write.")] = Path("policy.yaml"),
    base: Annotated[Literal["fp16", "bf16"], typer.Option(help="What most operators shall run in.")] = "bf16",
    batches: Annotated[int, typer.Option(help="Batches of the data to measure on.", min=1)] = 2,
    set: SET = None,
    device: DEVICE = "",
) -> None:
    """Measure each operator in a short number format against float32, and write which ones must stay in it."""
    job = read_file(file, set, device)
    if job.train.engine != "torch":
        message = f"train.engine is {job.train.engine!r}, and operators are measured on torch; use --set engine=torch"
        raise InvalidError(message, field="train.engine")
    plain = replace(job, settings={**job.settings, **PLAIN})
    trainer = make_trainer(plain, open_data(shell, job), display="silent")
    policy: Policy = engine("training.sensitivity").measure_policy(trainer, base, batches)
    engine("precision").write_policy(policy, out)
    kept = [operator for operator in policy.operators if operator.precision == "fp32"]
    shell.output.rows(kept, OPERATOR, empty=f"no operator needs fp32: all {len(policy.operators)} run in {base}")
    shell.output.remark(_ending(policy, len(kept), out.absolute()))


def _device_bytes(trainer: "Trainer") -> int:
    # A run of its own, since what this one holds would count among what the probes take.
    run = engine("training.run").Run(trainer.spec, trainer.material, trainer.folder)
    size = int(ROOM * run.learner.device_bytes)
    run.learner.close()
    if not size:
        message = f"is required on {run.learner.device_name}, whose memory is not the run's alone; give --budget 8GiB"
        raise InvalidError(message, field="--budget")
    return size


def _ending(policy: "Policy", kept: int, out: Path) -> str:
    lines = [f"{kept} of {len(policy.operators)} operators stay in fp32"] if kept else []
    for name, found in (("plain autocast", policy.plain), ("this policy", policy.measured)):
        if found is not None:
            lines.append(f"{name}: loss off by {_share(found.loss)}, gradient by {_share(found.gradient)}")
    lines.append(f"written to {out}; train with precision: {{name: {policy.base}, policy: {out}}}")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "no finite number" if value is None else f"{100 * value:.2g}%"


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


OPERATOR: dict[str, Column] = {
    "OPERATOR": lambda operator: operator.name or "(the model itself)",
    "KIND": lambda operator: operator.kind,
    "WHY FP32": lambda operator: operator.reason,
}
