"""ONNX out of torch models, checked against what torch itself gives."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnxruntime import InferenceSession
from torch import nn

from services.train_svc.engine.building import build
from services.train_svc.engine.export.checking import Port, check_graph, open_session, ports
from services.train_svc.engine.export.forms import Form, Plain, Whole, chosen
from services.train_svc.engine.export.graph import OPSET, ExportError, write_graph
from services.train_svc.engine.export.parts import PartAlone
from services.train_svc.engine.export.steps import NEXT, Step
from services.train_svc.engine.on_torch import Model
from services.train_svc.engine.on_torch.normalization import ConstantDropout
from services.train_svc.engine.reading import fault
from services.train_svc.engine.sources import Source, as_description
from services.train_svc.engine.weights import load_weights


@dataclass(frozen=True, kw_only=True)
class Export:
    """What was exported."""

    opset: int
    """ONNX operator set."""
    size_bytes: int
    """Of the file, and of `<path>.data` beside it, where weights of over 1.5 GiB go."""
    largest_error: float
    """Largest absolute difference from torch over all checked calls."""
    inputs: tuple[Port, ...]
    """What goes in; in a step the state too."""
    outputs: tuple[Port, ...]
    """What comes out."""

    @property
    def state(self) -> dict[str, str]:
        """The output that each input takes in the next step; inputs that are not here stay as they are, or are new."""
        names = {port.name for port in self.outputs}
        return {port.name: port.name + NEXT for port in self.inputs if port.name + NEXT in names}


def export_onnx(
    source: Source,
    weights: str | Path,
    path: str | Path,
    *,
    part: str = "",
    step: bool = False,
    memory_for: str = "",
    without: Sequence[str] = (),
) -> Export:
    """Export a description with its weights as ONNX: whole, one part of it, or one step of a stream or decoding loop.

    The batch and every size that is a word are of any number, and have these words as names in the graph. Inputs and
    outputs have the description's names (`logits` for an output without one). Optional inputs that change nothing, such
    as a step's mask where no block looks at it, are not in the graph. A step also takes the carried state, as
    `<block>.<state>`, and gives the new one, as `<block>.<state>.next`; caches begin with 0 frames, and `past` counts
    those that they have. State that never changes, what a decoder makes of the encoder's output, only goes in: export
    the encoder with `memory_for="decoder"`, run it once, and feed its outputs of these names to every step.

    Args:
        source: a description, or the path of an `architecture.yaml`.
        weights: safetensors, as `save_weights` writes them for either engine.
        path: the ONNX file to write.
        part: the part to export alone, such as `encoder`. It takes the inputs that it reads, and values of earlier
            parts with `<value>_mask`; it gives its output, and `<output>_mask` where something is padded.
        step: export `model.step`. Where a stream takes whole chunks only, the size of one is fixed in the graph.
        memory_for: with `part`: another part, whose constant state comes out too.
        without: optional inputs that the graph shall not have, such as `mask`.

    Raises:
        InvalidError: the description, the weights or the options are wrong.
        ExportError: torch cannot export it, or ONNX Runtime's outputs differ from torch's.
    """
    model = load_weights(build(as_description(source)), weights)
    return export_model(model, Path(path), part=part, step=step, memory_for=memory_for, without=tuple(without))


def export_model(
    model: Model,
    path: Path,
    *,
    part: str = "",
    step: bool = False,
    memory_for: str = "",
    without: tuple[str, ...] = (),
) -> Export:
    """Export a model that `build` made on torch; see `export_onnx`. It is on the CPU afterwards."""
    if memory_for and (step or not part):
        raise fault("memory_for", "goes with the part that makes the memory, such as part='encoder', and no step")
    was_training = model.training
    model.cpu().eval()
    try:
        names = chosen(model.description, without)
        form: Form
        if step:
            form = Step(model, part, names)
        else:
            form = PartAlone(model, part, names, memory_for) if part else Whole(model, names)
        return _export(form, path)
    finally:
        model.train(was_training)


def export_module(module: nn.Module, shape: tuple[int, ...], path: Path) -> Export:
    """Export a module that takes [batch, *shape] float32 and gives one tensor; see `export_onnx`."""
    was_training = module.training
    module.cpu().eval()
    try:
        return _export(Plain(module, shape), path)
    finally:
        module.train(was_training)


def _export(form: Form, path: Path) -> Export:
    beside = path.with_name(path.name + ".data")
    beside.unlink(missing_ok=True)
    form.eval()
    drops = [module for module in form.modules() if isinstance(module, ConstantDropout)]
    try:
        # What drops in use is checked without; then the graph is written as it is.
        with _dropping_nothing(drops):
            error, session = _written(form, path)
        if drops:
            _, session = _written(form, path, shapes_only=True)
    except ExportError:
        path.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
        raise
    return Export(
        opset=OPSET,
        size_bytes=path.stat().st_size + (beside.stat().st_size if beside.exists() else 0),
        largest_error=error,
        inputs=ports(session.get_inputs()),
        outputs=ports(session.get_outputs()),
    )


def _written(form: Form, path: Path, *, shapes_only: bool = False) -> tuple[float, InferenceSession]:
    write_graph(form, path)
    session = open_session(path)
    return check_graph(form, session, shapes_only=shapes_only), session


@contextmanager
def _dropping_nothing(drops: list[ConstantDropout]) -> Iterator[None]:
    rates = [drop.p for drop in drops]
    for drop in drops:
        drop.p = 0.0
    try:
        yield
    finally:
        for drop, rate in zip(drops, rates, strict=True):
            drop.p = rate
