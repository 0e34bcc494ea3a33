"""A model in training on torch: one step, whole or in pieces, eager, compiled, or as one CUDA graph."""

import gc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.augment.scaling import SHARES, Scaling
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.checkpointing import HostCopies, HostCopy
from services.train_svc.engine.memory.measures import Measures
from services.train_svc.engine.memory.places import labelled_places
from services.train_svc.engine.on_torch.augmenting import augment
from services.train_svc.engine.on_torch.calling import Tensors, call, output_name
from services.train_svc.engine.on_torch.clipping import build_clipper
from services.train_svc.engine.on_torch.ema import Ema
from services.train_svc.engine.on_torch.faults import first_fault
from services.train_svc.engine.on_torch.forgetting import forget
from services.train_svc.engine.on_torch.gates import has_gates, settle_gates
from services.train_svc.engine.on_torch.graphs import WARM, StepGraphs
from services.train_svc.engine.on_torch.losses import build_loss
from services.train_svc.engine.on_torch.memory import HostMoments, PeakMeter, apply_measures, lift_measures, saving
from services.train_svc.engine.on_torch.moving import Readback, seed_device, to_device
from services.train_svc.engine.on_torch.optimizer import apply, build_optimizer, set_rate
from services.train_svc.engine.on_torch.precision import autocast_of
from services.train_svc.engine.on_torch.scaling import LossScale
from services.train_svc.engine.on_torch.snapshot import TorchSnapshot
from services.train_svc.engine.on_torch.trainstate import fill_state, state_tensors
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.learner import Measured, Moment, Predicted, Snapshot

Piece = tuple[Tensors, Tensors]
"""Inputs and targets on the device."""


LABELS, PLACES = "labels", "places"
LEAST_WEIGHT = 1e-6
"""Divides where nothing counts, as by chance in a masked language model."""
UNMOVED = "no weight gets a gradient from the loss; is the model frozen, or are gradients switched off?"
UNSCALED = 0.0
"""Stands for the loss scale where there is none."""


class TorchLearner:
    """Model, loss, optimizer and average on torch (`training.learner.Learner`).

    Args:
        model: on its device, as `prepare_model` left it.
        spec: how it is trained.
        precision: what `resolve` made of the spec's.
        measures: against a lack of memory.
        scaling: mean and deviation of pictures of bytes.
    """

    def __init__(
        self, model: nn.Module, spec: TrainSpec, *, precision: str, measures: Measures, scaling: Scaling = SHARES
    ) -> None:
        self.model = model
        self.spec = spec
        self.device = _device_of(model)
        self.precision = precision
        self.loss = build_loss(spec.loss, label_smoothing=spec.label_smoothing)
        self.optimizer = build_optimizer(model, spec.optimizer)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.clipper = build_clipper(spec.clip, model)
        self.scale = LossScale(spec.precision, self.device) if precision == "fp16" else None
        self.ema = Ema(model, spec.ema_decay) if spec.ema_decay else None
        self._buffers = {name for name, _ in model.named_buffers()}
        self._gated = has_gates(model)
        self._copies = HostCopies()
        self._copy: HostCopy | None = None
        self._scaling = scaling
        self._output = output_name(model)
        self._readback = Readback(self.device)
        self._host = HostMoments(self.optimizer) if measures.offload_moments else None
        self._take(measures)
        self.model.train()

    def _take(self, measures: Measures) -> None:
        """Take measures against a lack of memory, in place of those before; what was compiled is compiled anew."""
        # Only labelled places are scored in a masked language model, budget or not: it is faster too.
        masked = self.spec.loss.name == "masked_lm"
        self.measures = replace(measures, chunked_head=measures.chunked_head or masked)
        self._head = apply_measures(self.model, self.measures)
        self.pieces = self.spec.accumulate * measures.pieces
        on_gpu = self.device.type == "cuda"
        compiles = self.spec.compile == "on" or (self.spec.compile == "auto" and on_gpu)
        self._forward = torch.compile(self._loss_of) if compiles else self._loss_of
        # What is computed again draws its dropout from generators that a capture of ours does not know.
        is_whole = not measures.recompute and not measures.offload_activations
        self._graphs = StepGraphs(self._step) if compiles and on_gpu and is_whole else None

    def running(self) -> AbstractContextManager[Any]:
        """Return a context for a run's steps, which leaves the caller's random generators as they were."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def learn(self, batch: Batch, moment: Moment) -> Sequence[Measured]:
        """Make one step."""
        set_rate(self.optimizer, moment.rate)
        if self.ema:
            self.ema.begin(moment.step)
        seed_device(self.device, moment.seed)
        pieces = [self._moved(piece) for piece in batch.pieces(self.pieces)]
        row = self._graphs.run(pieces) if self._graphs else self._step(pieces)
        self._readback.put(moment.step + 1, row)
        return [_measured(*each) for each in self._readback.arrived()]

    def settle(self) -> Sequence[Measured]:
        """Wait for the device, and return the measures that are still out."""
        return [_measured(*each) for each in self._readback.arrived(all_of_them=True)]

    @torch.no_grad()
    def predict(self, batch: Batch) -> Predicted:
        """Return what the model makes of a batch, nothing dropped."""
        inputs, targets = self._moved(batch)
        self.model.eval()
        try:
            with self._autocast():
                outputs = call(self.model, inputs, self._output)
            total, weight = self.loss.total(outputs, targets), self.loss.weight(targets)
        finally:
            self.model.train()
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}
        return Predicted(outputs=arrays, total=float(total), weight=float(weight))

    @torch.no_grad()
    def output_shapes(self, batch: Batch) -> Mapping[str, Sequence[int]]:
        """Return the shape of each output for a sample of a batch; empty: the model fails, which its step will say."""
        self.model.eval()
        try:
            with self.running(), self._autocast():
                outputs = call(self.model, self._moved(batch.cut(slice(0, 1)))[0], self._output)
        except Exception:
            return {}
        finally:
            self.model.train()
        return {name: tuple(tensor.shape) for name, tensor in outputs.items()}

    def state(self) -> Snapshot:
        """Return a copy of all that a run needs to go on; the next update waits for it."""
        if self._host:
            self._host.settle()
        tensors = state_tensors(self)
        if self.device.type == "cuda":
            return TorchSnapshot(tensors)
        self._copy = self._copies.begin({name: self._view(name, tensor) for name, tensor in tensors.items()})
        return self._copy

    def fill(self, tensors: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        fill_state(self, tensors)
        if self._host:
            self._host.gather()

    def close(self) -> None:
        """Let go of the device's memory: graphs hold theirs, and compiled code its constants."""
        self._graphs, self._forward = None, self._loss_of
        lift_measures(self.model)
        gc.collect()
        forget()

    def averaged(self) -> AbstractContextManager[Any]:
        """Return a context in which the model holds the average of its weights, if one is kept."""
        return self.ema.lent_to(self.model) if self.ema else nullcontext()

    def adopt_average(self) -> None:
        """Give the model the average of its weights for good."""
        if self.ema:
            self.ema.copy_to(self.model)

    def first_fault(self, batch: Batch, moment: Moment) -> str:
        """Return the name of the first module whose output, or whose gradient, is not finite; empty: none."""
        for piece in map(self._moved, batch.pieces(self.pieces)):
            seed_device(self.device, moment.seed)
            found = first_fault(self.model, partial(self._loss_of, *piece, self.loss.weight(piece[1])))
            if found:
                return found
        return ""

    def mean_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch as a step computes it, with its graph."""
        inputs, targets = self._moved(batch)
        return self._loss_of(inputs, targets, self.loss.weight(targets).clamp(min=LEAST_WEIGHT))

    @property
    def parameters(self) -> int:
        """Numbers that are learnt."""
        return sum(parameter.numel() for parameter in self.trained)

    @property
    def device_name(self) -> str:
        """What computes."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @property
    def first_steps(self) -> int:
        """Steps after which it runs as it will: what is compiled or captured is by then."""
        return WARM + 2 if self._graphs else 2

    @property
    def version(self) -> str:
        """Version of torch."""
        return torch.__version__

    def metered(self) -> PeakMeter:
        """Return a context that measures the peak of memory."""
        held = [*self.model.parameters(), *self.model.buffers(), *state_tensors(self).values()]
        return PeakMeter(self.device, held)

    @property
    def peak_bytes(self) -> int:
        """Most memory of the GPU that tensors took so far; 0: there is none."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    @property
    def device_bytes(self) -> int:
        """Memory of the GPU; 0: there is none."""
        is_gpu = self.device.type == "cuda"
        return int(torch.cuda.get_device_properties(self.device).total_memory) if is_gpu else 0

    def _moved(self, batch: Batch) -> Piece:
        inputs, draws = to_device(batch.inputs, self.device), to_device(batch.draws, self.device)
        changed = augment(inputs, draws, self.spec.augment, scaling=self._scaling)
        return changed, to_device(self._placed(batch.targets), self.device)

    def _placed(self, targets: Mapping[str, Any]) -> Mapping[str, Any]:
        # Which places have a label is known on the host; the scores of others are not computed.
        places = labelled_places(targets[LABELS], self.spec.loss.ignored) if self._head else None
        return targets if places is None else {**targets, PLACES: places}

    def _step(self, pieces: Sequence[Piece]) -> torch.Tensor:
        # [loss, gradient norm, whether it was applied, loss scale]; nothing here waits for the device.
        weight = torch.stack([self.loss.weight(targets) for _, targets in pieces]).sum()
        weight = weight.clamp(min=LEAST_WEIGHT)
        loss = torch.zeros((), device=self.device)
        for inputs, targets in pieces:
            with saving(self.model, self.measures):
                part = self._forward(inputs, targets, weight)
            if not part.requires_grad:
                raise InvalidError(UNMOVED, field="model")
            torch.autograd.backward(self.scale.scale(part) if self.scale else part)
            loss += part.detach()
        return self._update(loss)

    def _update(self, loss: torch.Tensor) -> torch.Tensor:
        gradients = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        if not gradients:
            raise InvalidError(UNMOVED, field="model")
        self._wait_for_copy()
        found = self.scale.unscale(gradients) if self.scale else None
        if self._gated:
            settle_gates(self.model, self.optimizer)
        norm = self.clipper.clip(self.trained)
        fine = torch.isfinite(norm) & torch.isfinite(loss)
        skip = (~fine).float() if found is None else torch.maximum(found, (~fine).float())
        if self._host:
            self._host.step(partial(apply, self.optimizer, skip))
        else:
            apply(self.optimizer, skip)
        self.optimizer.zero_grad(set_to_none=True)
        if self.scale:
            self.scale.update(skip)
        if self.ema:
            self.ema.update(self.model)
        scale = self.scale.value if self.scale else torch.full_like(loss, UNSCALED)
        return torch.stack([loss, norm, 1 - skip, scale])

    def _view(self, name: str, tensor: torch.Tensor) -> Any:  # noqa: ANN401 - a NumPy array
        # Running statistics change in the forward pass already, all else in the update.
        array = tensor.numpy()
        return array.copy() if name.removeprefix("model/") in self._buffers else array

    def _wait_for_copy(self) -> None:
        # Weights and moments must not change while a checkpoint is copied from them.
        if self._copy is not None:
            self._copy.wait()
            self._copy = None

    def _loss_of(self, inputs: Tensors, targets: Tensors, weight: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            outputs = call(self.model, inputs, self._output)
            total = self._head_loss(outputs, targets) if self._head else self.loss.total(outputs, targets)
        return total / weight

    def _head_loss(self, outputs: Tensors, targets: Tensors) -> torch.Tensor:
        assert self._head is not None
        (hidden,) = outputs.values()
        return self._head.cross_entropy(
            hidden,
            targets[LABELS],
            places=targets.get(PLACES),
            ignored=self.spec.loss.ignored,
            label_smoothing=self.spec.label_smoothing,
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return autocast_of(self.precision, self.device)


def _device_of(model: nn.Module) -> torch.device:
    # Of a user's own module, of which nothing is known yet.
    other = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()} - {torch.float32}
    if other:
        message = f"the model's weights are {other.pop()}, and are trained in float32; give `model.float()`, and what "
        raise InvalidError(f"{message}it shall compute in as `precision`", field="model")
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _measured(step: int, row: list[float]) -> Measured:
    loss, norm, applied, scale = row
    return Measured(
        step=step, loss=loss, gradient_norm=norm, applied=applied > 0, loss_scale=scale, is_scaled=scale != UNSCALED
    )
