"""The `train:` section of a lifecycle, checked once it exists."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.common.digest import digest_file, digest_json
from services.common.names import check_name
from services.train_svc.engine.reading import Checked, check, read, setting
from services.train_svc.engine.spec.augment import AugmentSpec, MaskSpec, MixSpec
from services.train_svc.engine.spec.budget import MemoryBudget
from services.train_svc.engine.spec.loss import LossSpec
from services.train_svc.engine.spec.model import ModelSpec
from services.train_svc.engine.spec.optimizer import ClipSpec, OptimizerSpec, ScheduleSpec
from services.train_svc.engine.spec.precision import Precision


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingSpec(Checked):
    """When a run that no longer improves ends."""

    patience_epochs: int = setting(0, least=0)
    """Epochs without improvement after which it ends; 0: never early."""
    metric: str = ""
    """What is watched, such as `validation_accuracy`; empty: what belongs to the loss. Errors and losses (`*loss`,
    `*_error`, `cer`, `wer`, `mer` and its parts, `perplexity`, `mae`, `rmse`, `mase`) shall fall, all else rise."""
    least_change: float = setting(0.0, least=0)
    """What is no improvement if it is smaller."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Everything that decides a training run but the data."""

    model: ModelSpec = dataclasses.field(default_factory=lambda: ModelSpec(template="resnet_small"))
    """A template's name, a mapping with `template` and its overrides, or a description."""
    loss: LossSpec = LossSpec()
    """What a step lowers."""
    epochs: int = setting(20, least=1, most=100_000)
    """Passes over the training split."""
    batch_size: int = setting(32, least=2, most=65536)
    """Samples a step; an epoch's last, smaller batch is left out, since every epoch is shuffled anew."""
    accumulate: int = setting(1, least=1, most=4096)
    """Pieces that a batch is computed in, one after another: less memory, the same gradient."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """What moves the weights."""
    schedule: ScheduleSpec = ScheduleSpec()
    """How the learning rate goes."""
    clip: ClipSpec = ClipSpec()
    """How gradients are kept from leaping."""
    ema_decay: float = setting(0.0, least=0, below=1)
    """Weight of the past in a moving average of the weights, which is then what is evaluated and kept (Polyak and
    Juditsky 1992; 0.999 to 0.9999 as a rule); less at first, min(it, (1 + step) / (10 + step)); 0: none."""
    label_smoothing: float = setting(0.0, least=0, below=1)
    """Share of the target that every cross entropy spreads over all classes (Szegedy et al. 2015, arXiv 1512.00567)."""
    augment: AugmentSpec = AugmentSpec()
    """Random changes of single training pictures."""
    mix: MixSpec = MixSpec()
    """Random blends of pairs of training samples."""
    mask: MaskSpec = MaskSpec()
    """Random masks on training features."""
    precision: Precision = Precision()
    """In which number formats it computes."""
    memory_budget: MemoryBudget = MemoryBudget()
    """How much of the device's memory it may take."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether the step is compiled; auto: on a GPU, and always on TensorFlow."""
    early_stopping: EarlyStoppingSpec = EarlyStoppingSpec()
    """When a run that no longer improves ends."""
    keep_best: int = setting(1, least=0, most=100)
    """How many of the best evaluated checkpoints are kept beside the newest; 0: none, the last weights are final."""
    seed: int = setting(0, least=0, below=2**63)
    """Of weights, order and augmentation. Same seed, data, engine, threads, machine type: same curve, bit for bit."""
    engine: Literal["torch", "tensorflow"] = "torch"
    """Who computes. A run may stop on one and go on with the other."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where; auto: the GPU if there is one."""
    threads: int = setting(0, least=0, most=1024)
    """CPU threads; 0: as many as the model is worth, the process may use, and 8 at most."""
    model_name: str = "model"
    """Name under which the trained version is registered."""
    checkpoint_every_s: float = setting(10.0, above=0)
    """Longest time between two checkpoints: what a crash may cost."""
    checkpoint_retry_s: float = setting(120.0, above=0)
    """How long the checkpoint storage may be away before the run fails."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, "train")
        check_name(self.model_name, "model_name")

    @classmethod
    def from_mapping(cls, value: object, path: str = "train") -> "TrainSpec":
        """Return the spec of plain data (the JSON or YAML of a `train:` section).

        Raises:
            InvalidError: all faults at once, each with its path such as `train.epochs`.
        """
        return read(cls, value, path)

    def to_data(self) -> dict[str, Any]:
        """Return the spec as plain data, every default written out."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: _plain(value) for key, value in data.items()}

    @property
    def digest(self) -> str:
        """Name of everything that shapes the curve: a checkpoint of one spec is not resumed by another."""
        names = {"engine", "device", "threads", "model_name", "checkpoint_every_s", "checkpoint_retry_s", "accumulate",
                 "memory_budget", "compile", "keep_best"}  # fmt: skip
        data = {key: value for key, value in self.to_data().items() if key not in names}
        if self.precision.policy and Path(self.precision.policy).is_file():
            data["policy"] = digest_file(Path(self.precision.policy))
        return digest_json(data)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if hasattr(value, "to_data"):
        return value.to_data()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
