"""The same model on torch and on TensorFlow: outputs, gradients, three optimizer steps, compiled forms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import Arrays, sample_inputs
from services.train_svc.engine.spec import OptimizerSpec
from services.train_svc.engine.weights import load_weights, save_weights

ATOL = RTOL = 2e-5
"""Of outputs and gradients, float32, relative to the largest value of each tensor."""
STEPS = 3


def close(got: Any, wanted: Any, what: str, tolerance: float = ATOL, floor: float = 1.0) -> None:
    """Assert that two arrays differ by no more than `tolerance` of the greatest value wanted, or of `floor`."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    scale = max(floor, float(np.abs(wanted).max())) if wanted.size else 1.0
    error = float(np.abs(got - wanted).max()) / scale if wanted.size else 0.0
    assert error <= tolerance, f"{what}: differs by {error:.2g} of its largest value, allowed {tolerance:g}"


def pair(description: Description, tmp_path: Path, *, spread: float = 0.05) -> tuple[Any, Any]:
    """Return a torch and a TensorFlow model of the same random weights; zeros and ones are stirred too."""
    torch.manual_seed(0)
    model = build(description)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * spread)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer) * spread)
    save_weights(model, tmp_path / "w.safetensors")
    return model, load_weights(build(description, engine="tensorflow"), tmp_path / "w.safetensors")


def on_torch(inputs: Arrays) -> dict[str, torch.Tensor]:
    """Return the inputs as torch tensors."""
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def outputs_of(result: Any) -> dict[str, Any]:
    """Return one output or several by name."""
    return result if isinstance(result, dict) else {"logits": result}


def loss_of(result: Any, square: Callable[[Any], Any]) -> Any:
    """Return one number that every output moves."""
    return sum(square(each) for each in outputs_of(result).values())


def check_parity(description: Description, tmp_path: Path, *, lr: float = 0.1, **sizes: int) -> None:
    """Assert that both engines agree, for whole inputs and without optional ones; `lr` is that of the steps."""
    model, other = pair(description, tmp_path)
    inputs = sample_inputs(description, sizes=sizes)
    check_outputs(model, other, inputs)
    needed = {name: array for name, array in inputs.items() if not description.inputs[name].optional}
    if needed.keys() != inputs.keys():
        check_outputs(model, other, needed)
    check_steps(model, other, inputs, lr)


def check_outputs(model: Any, other: Any, inputs: Arrays) -> None:
    """Assert equal outputs, eager and compiled, in evaluation."""
    import tensorflow as tf

    model.eval()
    with torch.no_grad():
        wanted = outputs_of(model(**on_torch(inputs)))
        # The graphs of models before would count against the limit of this one's.
        torch.compiler.reset()
        whole = torch.compile(model, fullgraph=True, backend="eager", dynamic=False)
        for name, tensor in outputs_of(whole(**on_torch(inputs))).items():
            close(tensor, wanted[name], f"compiled {name}")
    traced = tf.function(other)
    for form, result in (("eager", other(inputs)), ("traced", traced(inputs))):
        for name, tensor in outputs_of(result).items():
            close(tensor, wanted[name], f"TensorFlow's {form} {name}")


def check_steps(model: Any, other: Any, inputs: Arrays, lr: float = 0.1) -> None:
    """Assert equal gradients, and equal weights after three steps of SGD with momentum, batch norms and all."""
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow import optimizer as tensorflow_optimizer
    from services.train_svc.engine.on_tensorflow import tensors as tensorflow_tensors
    from services.train_svc.engine.on_torch import optimizer as torch_optimizer

    # Adam divides by the gradient's size, so that it would show rounding, not faults, where a gradient is nearly zero.
    spec = OptimizerSpec(name="sgd", lr=lr)
    model.train()
    ours, theirs = torch_optimizer.build_optimizer(model, spec), tensorflow_optimizer.build_optimizer(other, spec)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(other(inputs, training=True), lambda x: tf.reduce_mean(tf.square(x)))
        return tape.gradient(loss, theirs.trained)

    names = list(theirs.variables)
    for step in range(STEPS):
        ours.zero_grad()
        loss_of(model(**on_torch(inputs)), lambda x: x.square().mean()).backward()
        found = gradients()
        # Beside the largest gradient of all, so that a model whose gradients are small is held to as much.
        largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None and p.numel())
        for name, gradient in zip(names, found, strict=True):
            wanted = model.get_parameter(name).grad
            got = None if gradient is None else np.asarray(tf.convert_to_tensor(gradient))
            if wanted is None or got is None:
                assert wanted is None or not wanted.abs().max(), f"TensorFlow gives no gradient of {name}"
                assert got is None or not np.abs(got).max(), f"torch gives no gradient of {name}"
                continue
            canonical = tensorflow_tensors.to_canonical(got, theirs.params[name])
            close(canonical, wanted, f"gradient {step} of {name}", floor=min(1.0, largest))
        ours.step()
        theirs.apply(found)
    for name, tensor in tensorflow_tensors.named_tensors(other).items():
        close(tensor, model.state_dict()[name].detach(), f"{name} after {STEPS} steps", 1e-4)
