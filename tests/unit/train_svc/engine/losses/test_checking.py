"""What is wrong with a batch is said once, with its place and its cure."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.losses import check_targets, output_of, outputs_of
from services.train_svc.engine.spec import LossSpec
from tests.unit.train_svc.engine.losses.cases import ALL, Arrays, Case
from tests.unit.train_svc.engine.losses.engines import ENGINES, measure

Change = Callable[[Arrays], Any]


def put(name: str, *place: int, value: float) -> Change:
    return lambda targets: targets[name].__setitem__(place, value)


def drop(name: str) -> Change:
    return lambda targets: targets.pop(name)


def change(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda targets: targets.__setitem__(name, function(targets[name]))


def shapes(case: Case) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in case.outputs.items()}


VALUES = [
    ("cross_entropy", put("labels", 2, value=5), r"targets.labels: got 5 at \[2\], wanted 0 to 4: the model has 5 cla"),
    ("labelling", put("labels", 1, 3, value=-1), r"got -1 at \[1, 3\].*; -100 is for places that count for nothing"),
    ("masked_lm", put("labels", 1, 3, value=8), r"got 8 at \[1, 3\]"),
    ("segmentation", put("labels", 0, 4, 5, value=3), r"got 3 at \[0, 4, 5\], wanted 0 to 2: the model has 3 classes"),
    ("segmentation", change("labels", lambda a: a.astype(float)), "got float64 numbers, wanted whole ones"),
    ("ctc", put("labels", 3, 1, value=6), r"got 6 at \[3, 1\], wanted 0 to 5"),
    ("ctc", put("labels", 3, 1, value=0), r"got 0 at \[3, 1\], which is blank"),
    ("ctc", put("label_lengths", 1, value=5), "label_lengths: got 5 for sample 1, wanted 0 to 4: there are 4 labels"),
    ("ctc", put("frame_lengths", 3, value=10), "frame_lengths: got 10 for sample 3, wanted 0 to 9: there are 9 frames"),
    (
        "ctc",
        put("frame_lengths", 0, value=4),
        "sample 0 has 4 frames for 4 labels, 1 of them the same.* at least 5.*inf",
    ),
    ("ctc", put("frame_lengths", 3, value=2), "sample 3 has 2 frames for 3 labels, wanted at least 3"),
    ("ctc_attention", put("frame_lengths", 3, value=2), "sample 3 has 2 frames"),
    ("attention", put("labels", 1, 1, value=5), r"got 5 at \[1, 1\], which is the decoder's start and end token"),
    ("ctc_attention", put("labels", 1, 1, value=5), r"got 5 at \[1, 1\], which is the decoder's start and end token"),
    ("rnnt", put("frame_lengths", 2, value=0), "sample 2 has 0 frames for 0 labels, wanted at least 1"),
    ("rnnt", put("labels", 0, 2, value=0), "which is blank"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), VALUES)
def test_a_wrong_value_is_named_with_its_place(name: str, spoil: Change, message: str) -> None:
    case = ALL[name]()
    spoil(case.targets)
    with pytest.raises(InvalidError, match=message):
        check_targets(case.spec, case.targets, shapes(case))


def test_the_labels_of_the_other_sample_of_a_blend_are_checked_too() -> None:
    case = ALL["cross_entropy"]()
    blend = {"other_labels": np.array([0, 1, 2, 7]), "share": np.ones(4, np.float32)}
    with pytest.raises(InvalidError, match=r"targets.other_labels: got 7 at \[3\]"):
        check_targets(case.spec, {**case.targets, **blend}, shapes(case))


def test_a_blank_beyond_the_tokens_is_named() -> None:
    case = ALL["rnnt"]()
    with pytest.raises(InvalidError, match=r"loss\.blank: got 6, wanted 0 to 5: the model has 6 tokens"):
        check_targets(LossSpec(name="rnnt", blank=6), case.targets, shapes(case))


def test_sizes_that_are_not_known_yet_are_not_checked() -> None:
    case = ALL["ctc"]()
    check_targets(case.spec, case.targets, {"logits": (None, None, 6)})
    check_targets(case.spec, case.targets, {"logits": (4, 9, None)})


SHAPES = [
    (
        "cross_entropy",
        drop("labels"),
        r"targets.labels: is missing: the loss cross_entropy wants labels \[batch\]; got no",
    ),
    ("ctc", drop("frame_lengths"), r"targets.frame_lengths: is missing: the loss ctc wants labels \[batch, label\], "),
    (
        "cross_entropy",
        change("labels", lambda a: a[:, None]),
        r"got scores \[4, 5\], labels \[4, 1\]; the loss cross_ent",
    ),
    ("labelling", change("labels", lambda a: a[:, 1:]), r"labels \[4, 5\].*scores \[batch, time, class\] with labels"),
    (
        "segmentation",
        change("labels", lambda a: a[0]),
        r"wants scores \[batch, class, h, w\] with labels \[batch, height",
    ),
    ("attention", change("labels", lambda a: a[:, 1:]), r"labels \[4, 3\].*wants scores \[batch, label \+ 1, class\]"),
    ("rnnt", change("labels", lambda a: a[:, 1:]), r"scores \[4, 9, 5, 6\], labels \[4, 3\]"),
    ("ctc", change("frame_lengths", lambda a: a[1:]), r"frame_lengths \[3\]"),
    (
        "regression",
        change("labels", lambda a: a[:, 0]),
        r"got scores \[4, 3\], labels \[4\]; the loss regression wants",
    ),
    (
        "forecast",
        change("mask", lambda a: a[:, 0]),
        r"targets.mask: got \[4, 2\], wanted the shape of labels, \[4, 6, 2\]",
    ),
    ("rnnt", lambda targets: targets.update(share=np.ones(4)), "the model reads the labels, so rnnt cannot blend"),
    ("ctc", lambda targets: targets.update(share=np.ones(4)), "targets.other_labels: is missing"),
]


@pytest.mark.parametrize("engine", [*ENGINES, "host"])
@pytest.mark.parametrize(("name", "spoil", "message"), SHAPES)
def test_a_wrong_shape_or_name_is_said_before_anything_is_computed(
    name: str, spoil: Change, message: str, engine: str
) -> None:
    case = ALL[name]()
    spoil(case.targets)
    with pytest.raises(InvalidError, match=message):
        check_targets(case.spec, case.targets, shapes(case)) if engine == "host" else measure(engine, *case)


def test_a_target_by_nearly_its_name_is_found() -> None:
    case = ALL["cross_entropy"]()
    with pytest.raises(InvalidError, match="got label; did you mean 'label'"):
        check_targets(case.spec, {"label": case.targets["labels"]}, shapes(case))


@pytest.mark.parametrize(
    ("loss", "outputs", "wanted"),
    [
        ("cross_entropy", ["output"], ("output",)),
        ("cross_entropy", ["logits", "hidden"], ("logits",)),
        ("cross_entropy", ["output", "output_1"], ("output",)),
        ("regression", ["forecast"], ("forecast",)),
        ("ctc", ["logits"], ("logits",)),
        ("ctc", ["ctc", "logits", "reverse_logits"], ("ctc",)),
        ("attention", ["ctc", "logits", "reverse_logits"], ("logits",)),
        ("ctc_attention", ["reverse_logits", "logits", "ctc"], ("ctc", "logits")),
    ],
)
def test_a_loss_finds_what_it_reads(loss: Any, outputs: list[str], wanted: tuple[str, ...]) -> None:
    given = dict.fromkeys(outputs, 0)
    assert outputs_of(LossSpec(name=loss), given) == wanted
    assert output_of(LossSpec(name=loss), given) == wanted[0]


@pytest.mark.parametrize(
    ("loss", "outputs", "message"),
    [
        (
            "ctc",
            ["encoded", "cct"],
            "outputs: the model gives 'encoded', 'cct'; the loss ctc reads 'ctc'; did you mean 'cct'",
        ),
        ("ctc_attention", ["logits"], "the model gives 'logits'; the loss ctc_attention reads 'ctc'"),
        ("cross_entropy", [], "the model gives nothing"),
    ],
)
def test_an_output_that_is_not_there_is_named_with_the_nearest(loss: Any, outputs: list[str], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        output_of(LossSpec(name=loss), dict.fromkeys(outputs, 0))


def test_the_checks_load_no_engine() -> None:
    import subprocess
    import sys

    code = (
        "import sys, services.train_svc.engine.losses; sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
