"""Makes learners on torch: device, formats, measures, and what is left to the loop."""

import copy
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.augment.scaling import SHARES, Scaling
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures
from services.train_svc.engine.on_torch.gates import has_gates
from services.train_svc.engine.on_torch.learner import TorchLearner
from services.train_svc.engine.on_torch.memory import ladder_of
from services.train_svc.engine.on_torch.model import build_torch
from services.train_svc.engine.on_torch.precision import (
    apply_policy,
    convert_to_float8,
    resolve,
    set_float32_products,
)
from services.train_svc.engine.precision import Policy, read_policy
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.threads import choose_threads

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def make_learner(
    source: Description | nn.Module,
    spec: TrainSpec,
    scaling: Scaling = SHARES,
    measures: Measures = NOTHING,
    *,
    trial: bool = False,
) -> TorchLearner:
    """Return a model in training.

    Args:
        source: what to build with the spec's seed, or a user's own module, which is trained in place.
        spec: how.
        scaling: mean and deviation of pictures of bytes.
        measures: against a lack of memory.
        trial: on a copy, for a few steps whose time and memory are measured.

    Raises:
        InvalidError: the device is not there, or does not compute in the format.
    """
    if measures.moments == "8bit":
        spec = replace(spec, optimizer=replace(spec.optimizer, name="adamw8bit"))
    device = device_of(spec)
    if isinstance(source, Description) and device.type == "cpu":
        torch.set_num_threads(spec.threads or choose_threads(source, spec.batch_size))
    model = _model(source, spec, device, trial=trial)
    precision = resolve(spec.precision, device)
    policy = _policy_of(spec, precision)
    # What a policy takes out of fp16 needs all bits of float32.
    mixed = precision in ("fp16", "bf16", "fp8") and policy is None
    set_float32_products("tf32" if mixed and device.type == "cuda" else precision)
    if precision == "fp8":
        convert_to_float8(model, policy=policy)
    if policy is not None:
        apply_policy(model, policy)
    return TorchLearner(model, spec, precision=precision, measures=measures, scaling=scaling)


def rungs(source: Description | nn.Module, spec: TrainSpec, batch: int) -> Ladder:
    """Return the measures that a run may take.

    Args:
        source: what is trained.
        spec: how.
        batch: samples a step.
    """
    model = source if isinstance(source, nn.Module) else build_torch(source, "meta")
    return ladder_of(
        model,
        batch=batch // spec.accumulate,
        head=spec.loss.name == "language_model",
        moments=("8bit",) if spec.optimizer.name == "adamw" and find_spec("torchao") else (),
        # A gate zeroes moments where they are used, so they stay there.
        offload=device_of(spec).type == "cuda" and not has_gates(model),
    )


def device_of(spec: TrainSpec) -> torch.device:
    """Return where a run computes.

    Raises:
        InvalidError: it wants a GPU, and there is none.
    """
    there = torch.cuda.is_available()
    if spec.device == "cuda" and not there:
        raise InvalidError("train.device is 'cuda', but this worker sees no GPU; use 'auto'", field="train.device")
    return torch.device("cuda" if there and spec.device != "cpu" else "cpu")


def _policy_of(spec: TrainSpec, precision: str) -> Policy | None:
    if not spec.precision.policy:
        return None
    policy = read_policy(spec.precision.policy)
    if policy.base != ("bf16" if precision == "fp8" else precision):
        message = f"{spec.precision.policy} was measured in {policy.base}, and the run computes in {precision}"
        raise fault("train.precision", f"{message}; set precision.name: {policy.base}, or measure a policy anew")
    return policy


def _model(source: Description | nn.Module, spec: TrainSpec, device: torch.device, *, trial: bool) -> nn.Module:
    if isinstance(source, nn.Module):
        model = copy.deepcopy(source) if trial else source
        model = model.to(device)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(spec.seed, "weights"))
            model = build_torch(source).to(device)
    if device.type == "cuda" and any(isinstance(module, CONVOLUTIONS) for module in model.modules()):
        # Tensor cores read channels last.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own
    return model
