"""A run: data and model fitted to each other, and what is done with them."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError, ModelwrightError
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.engines import load_part
from services.train_svc.engine.loading.iterables import IterableBatches
from services.train_svc.engine.memory.exhaustion import explain_out_of_memory, is_out_of_memory
from services.train_svc.engine.memory.plans import MemoryPlan
from services.train_svc.engine.metrics import build_metrics, primary
from services.train_svc.engine.ports import MetricSink, Ports
from services.train_svc.engine.reading import fault
from services.train_svc.engine.sinks import JsonlSink, Several
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.assembly import Assembly, assemble
from services.train_svc.engine.training.callbacks import Callbacks
from services.train_svc.engine.training.facts import facts_of
from services.train_svc.engine.training.faults import model_failed
from services.train_svc.engine.training.judging import Judge, Judged
from services.train_svc.engine.training.learner import Learner
from services.train_svc.engine.training.loop import Fit, Loop
from services.train_svc.engine.training.material import Material
from services.train_svc.engine.training.resuming import CHECKPOINTS, to_resume
from services.train_svc.engine.training.screening import Screen, ScreenedBatches, screened
from services.train_svc.engine.training.settings import listed

CURVE = "curve.jsonl"


class Run:
    """One training run.

    Args:
        spec: how.
        material: data and description.
        folder: where checkpoints and the curve are kept.
        own: a user's own model; None: the material's description is built.
        callbacks: told of steps, evaluations and checkpoints.
        sinks: get every metric beside the curve.

    Raises:
        InvalidError: callbacks or sinks are no list, or there is nothing that early stopping could go by.
    """

    def __init__(
        self,
        spec: TrainSpec,
        material: Material,
        folder: Path,
        *,
        own: Any = None,  # noqa: ANN401 - of either engine
        callbacks: Iterable[object] = (),
        sinks: Sequence[MetricSink] = (),
    ) -> None:
        self._screen = Screen(spec.loss, material.description)
        self.spec, self.material, self.folder = spec, screened(material, self._screen), folder
        self._own, self._callbacks, self._sinks = own, listed(callbacks, "callbacks"), listed(sinks, "sinks")
        for place, sink in enumerate(self._sinks):
            if not callable(getattr(sink, "log", None)):
                raise fault(f"sinks[{place}]", f"{type(sink).__name__} has no method log(points)")
        self._has_begun, self._samples = False, spec.batch_size
        if spec.early_stopping.patience_epochs and material.data.validation is None:
            raise fault("train.early_stopping", "there is no validation data to go by; give some, or leave it out")

    def fit(self, *, resume: bool | str | Path = False, ports: Ports | None = None) -> Fit:
        """Train to the end, and leave the model with its final weights: the best, or the last, averaged if so set.

        Args:
            resume: go on from this checkpoint; True: from the newest whole one in the folder, if there is one.
            ports: whom the run talks to beside sinks and callbacks; the platform brings its own.

        Raises:
            InvalidError: the loss is not finite, memory does not suffice, the folder holds another run, or the
                checkpoint is of one; one message says what, where, and what to do.
        """
        callbacks = Callbacks(self._callbacks)
        try:
            found = to_resume(self.folder, resume)
            self._check_fresh(found)
            return self._fitted(found, callbacks, ports or Ports())
        except Exception as error:
            explained = self._out_of_memory(error)
            if explained is None:
                raise
            raise explained from error
        finally:
            callbacks.close()
            # A source that reads ahead has a thread.
            getattr(self.material.data.train, "rest", lambda: None)()

    def evaluate(self, data: Iterable[Any] | str = "validation") -> Mapping[str, float]:
        """Return loss and metrics of the model as it is now.

        Args:
            data: batches, or the name of a split.

        Raises:
            InvalidError: there is no such split, or a batch is not what the model takes.
        """
        if isinstance(data, str):
            return self.judge(data).metrics
        given = IterableBatches(data, names=self.material.names)
        return self._judge.evaluate(self.learner, ScreenedBatches(given, self._screen, "given")).metrics

    def judge(self, split: str) -> Judged:
        """Return loss and metrics on a split, and how many samples it has; errors as of `evaluate`."""
        return self._judge.evaluate(self.learner, self.batches(split))

    def batches(self, split: str) -> Iterable[Batch]:
        """Return the batches of a split, in order.

        Raises:
            InvalidError: there is no such split.
        """
        known = self.material.evaluated
        if split in known:
            return known[split]()
        if split == "validation" and self.material.data.validation is not None:
            return self.material.data.validation
        raise InvalidError(f"there is no split {split!r}; there is {', '.join(known) or 'none'}", field="split")

    @property
    def learner(self) -> Learner:
        """The engine's half."""
        return self.assembly.learner

    @property
    def model(self) -> Any:  # noqa: ANN401 - of either engine
        """The model, of its engine."""
        return self.learner.model

    @property
    def memory_plan(self) -> MemoryPlan | None:
        """What keeps the memory budget; None: there is no budget."""
        return self.assembly.plan

    @property
    def primary(self) -> str:
        """The metric that best checkpoints and early stopping go by."""
        return primary(self.spec.loss)[0]

    @cached_property
    def assembly(self) -> Assembly:
        """Model, loss and optimizer on their device; a memory budget is planned for here, by real steps."""
        if self._own is not None:
            self._build_own()
        made = assemble(self._own, self.spec, self.material)
        if self.material.description is None:
            self._screen.shapes_of = made.learner.output_shapes
        return made

    @cached_property
    def _judge(self) -> Judge:
        loss, labels = self.spec.loss, self.material.labels
        make = partial(build_metrics, loss, classes=len(labels) or None, vocabulary=self.material.vocabulary)
        return Judge(metrics=make, primary=self.primary)

    def _build_own(self) -> None:
        batch: list[Batch] = []

        def inputs() -> Mapping[str, Any]:
            batch.append(self.material.data.train.at(0))
            return batch[0].inputs

        try:
            load_part(self.spec.engine, "calling").materialize(self._own, inputs)
        except ModelwrightError:
            raise
        except Exception as error:
            raise model_failed(error, batch[0], "step 1") from error

    def _check_fresh(self, found: Path | None) -> None:
        if self._has_begun and found is None:
            message = "has trained already, and there is no checkpoint to go on from"
            raise fault("model", f"{message}; begin anew with a new Trainer, and a new model if it is your own")
        self._has_begun = True

    def _fitted(self, found: Path | None, callbacks: Callbacks, ports: Ports) -> Fit:
        with closing(self._curve(is_new=found is None)) as curve:
            loop = self._loop(callbacks, ports, curve)
            if found:
                loop.restore(found)
            facts = facts_of(self.learner, self.material, loop)
            self._samples = facts.batch_size
            callbacks.on_fit_begin(facts)
            result = loop.fit()
        callbacks.on_fit_end(result)
        return result

    def _out_of_memory(self, error: Exception) -> InvalidError | None:
        if not is_out_of_memory(error):
            return None
        learner = vars(self).get("assembly") and self.learner
        return explain_out_of_memory(
            error,
            batch=self._samples,
            pieces=learner.pieces if learner else self.spec.accumulate,
            peak_bytes=learner.peak_bytes if learner else 0,
            device_bytes=learner.device_bytes if learner else 0,
        )

    def _curve(self, *, is_new: bool) -> JsonlSink:
        path = self.folder / CURVE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_new:
                # Of a run that never came to a checkpoint: what it measured is measured again.
                path.unlink(missing_ok=True)
            return JsonlSink(path)
        except OSError as error:
            raise fault("folder", f"{self.folder} cannot be written to: {error.strerror}; give another") from error

    def _loop(self, callbacks: Callbacks, ports: Ports, curve: MetricSink) -> Loop:
        sinks = Several(ports.metrics, curve, *self._sinks)
        return Loop(
            learner=self.learner,
            data=self.material.data,
            spec=self.spec,
            folder=self.folder / CHECKPOINTS,
            ports=Ports(metrics=sinks, progress=ports.progress, checkpoints=ports.checkpoints, stop=ports.stop),
            judge=self._judge,
            callbacks=callbacks,
        )
