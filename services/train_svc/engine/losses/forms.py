"""Which outputs and targets each loss reads, and which shapes they have.

Only names and sizes are looked at, so it costs nothing on a device and may run while a step is compiled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.common.names import nearest
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import LossSpec

Shape = Sequence[int | None]
"""Sizes of the axes, the batch first; None: not known yet."""

DECODED = ("attention", "ctc_attention", "rnnt")
"""Losses of models that read the labels themselves."""
OUTPUT = "output"
"""Name of the first tensor that a user's own module gives."""


@dataclass(frozen=True)
class Form:
    """Shapes that go together. An axis of the same name has the same size, and `label+1` is one more than `label`."""

    scores: tuple[str, ...]
    """Axes of each output that is read."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """Axes of each target that is needed."""


LABELS = {"labels": "batch label", "label_lengths": "batch"}
ALIGNED = {**LABELS, "frame_lengths": "batch"}
PLACES = Form(("batch time class",), {"labels": "batch time"})
FORMS: Mapping[str, tuple[Form, ...]] = {
    "cross_entropy": (Form(("batch class",), {"labels": "batch"}), PLACES),
    "language_model": (PLACES,),
    "masked_lm": (PLACES,),
    "segmentation": (Form(("batch class h w",), {"labels": "batch height width"}),),
    "ctc": (Form(("batch time class",), ALIGNED),),
    "attention": (Form(("batch label+1 class",), LABELS),),
    "ctc_attention": (Form(("batch time token", "batch label+1 class", "batch label+1 class"), ALIGNED),),
    "rnnt": (Form(("batch time label+1 class",), ALIGNED),),
    "regression": (Form(("batch ...",), {"labels": "batch ..."}),),
    "forecast": (Form(("batch ...",), {"labels": "batch ..."}),),
}
OPTIONAL = {"mask": "labels", "other_labels": "labels", "other_label_lengths": "label_lengths"}
"""Targets that may be there, and those whose shape they have."""


def output_of(spec: LossSpec, outputs: Mapping[str, object]) -> str:
    """Return the name of the output that a loss reads, of several the first: of `ctc_attention` it is `ctc`.

    Raises:
        InvalidError: the model gives none of that name.
    """
    return outputs_of(spec, outputs)[0]


def outputs_of(spec: LossSpec, outputs: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of all outputs that a loss reads.

    `ctc_attention` reads `ctc`, `logits`, and with a `reverse_weight` `reverse_logits`. `ctc` reads `ctc`, all others
    `logits`; where there is none of that name, the model's one output, or the first of a user's own module.

    Raises:
        InvalidError: the model gives none of that name.
    """
    if spec.name == "ctc_attention":
        wanted = ("ctc", "logits", "reverse_logits")[: 3 if spec.reverse_weight else 2]
        return tuple(_named(spec, name, outputs) for name in wanted)
    wanted_one = "ctc" if spec.name == "ctc" else "logits"
    if wanted_one in outputs:
        return (wanted_one,)
    if len(outputs) == 1:
        return (next(iter(outputs)),)
    return (OUTPUT,) if OUTPUT in outputs else (_named(spec, wanted_one, outputs),)


def _named(spec: LossSpec, wanted: str, outputs: Mapping[str, object]) -> str:
    if wanted not in outputs:
        given = ", ".join(repr(name) for name in outputs) or "nothing"
        message = f"the model gives {given}; the loss {spec.name} reads {wanted!r}{nearest(wanted, outputs)}"
        raise fault("outputs", message)
    return wanted


def require(spec: LossSpec, targets: Mapping[str, object]) -> None:
    """Check that the targets which a loss needs are there, and none that it cannot use.

    Raises:
        InvalidError: one is missing, or the labels are blended although the model reads them.
    """
    needed = FORMS[spec.name][0].targets
    missing = [name for name in needed if name not in targets]
    if missing:
        words = ", ".join(f"{name} [{_axes(needed[name])}]" for name in needed)
        given = ", ".join(targets) or "none"
        hint = nearest(missing[0], targets)
        message = f"is missing: the loss {spec.name} wants {words}; got {given}{hint}"
        raise fault(f"targets.{missing[0]}", message)
    if "share" not in targets:
        return
    if spec.name in DECODED:
        message = f"the model reads the labels, so {spec.name} cannot blend those of two samples; turn `mix` off"
        raise fault("targets.share", message)
    others = [f"other_{name}" for name in needed if name.startswith("label")]
    for name in others:
        if name not in targets:
            raise fault(f"targets.{name}", f"is missing: blended samples want {', '.join(others)} beside share")


def check_shapes(spec: LossSpec, outputs: Mapping[str, Shape], targets: Mapping[str, Shape]) -> None:
    """Check that outputs and targets fit together.

    Args:
        spec: the loss.
        outputs: shape of each output, the batch first.
        targets: shape of each target, the batch first.

    Raises:
        InvalidError: a name is missing, or a shape does not fit.
    """
    require(spec, targets)
    scores = [outputs[name] for name in outputs_of(spec, outputs)]
    if not any(_fits(form, scores, targets) for form in FORMS[spec.name]):
        forms = " or ".join(_described(form, len(scores)) for form in FORMS[spec.name])
        got = [f"scores {_sizes(shape)}" for shape in scores]
        got += [f"{name} {_sizes(targets[name])}" for name in FORMS[spec.name][0].targets]
        raise fault("targets.labels", f"got {', '.join(got)}; the loss {spec.name} wants {forms}")
    for name, like in OPTIONAL.items():
        if name in targets and not _same(targets[name], targets[like]):
            message = f"got {_sizes(targets[name])}, wanted the shape of {like}, {_sizes(targets[like])}"
            raise fault(f"targets.{name}", message)


def _fits(form: Form, scores: Sequence[Shape], targets: Mapping[str, Shape]) -> bool:
    if form.scores[0].endswith("..."):
        return _same(scores[0], targets["labels"])
    sizes: dict[str, int] = {}
    pairs = [*zip(form.scores, scores, strict=False), *((axes, targets[name]) for name, axes in form.targets.items())]
    return all(_bind(axes.split(), shape, sizes) for axes, shape in pairs)


def _bind(axes: Sequence[str], shape: Shape, sizes: dict[str, int]) -> bool:
    if len(axes) != len(shape):
        return False
    for axis, given in zip(axes, shape, strict=True):
        if given is not None:
            size = given - 1 if axis.endswith("+1") else given
            if sizes.setdefault(axis.removesuffix("+1"), size) != size:
                return False
    return True


def _same(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(a == b or a is None or b is None for a, b in zip(one, other, strict=True))


def _described(form: Form, count: int) -> str:
    scores = " and ".join(f"[{_axes(axes)}]" for axes in form.scores[:count])
    return f"scores {scores} with " + ", ".join(f"{name} [{_axes(axes)}]" for name, axes in form.targets.items())


def _axes(axes: str) -> str:
    return ", ".join(axis.replace("+1", " + 1") for axis in axes.split())


def _sizes(shape: Shape) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
