"""Published names of tensors into ours."""

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.keymap import rule, translate

MATRIX = np.arange(6.0).reshape(3, 2)


def test_fused_tensors_are_cut_by_what_the_model_wants() -> None:
    wanted = {"q": (2, 2), "k": (1, 2)}
    found = translate({"qk": MATRIX}, (rule("qk", "q", "k"),), wanted, "x")
    np.testing.assert_array_equal(found["q"], MATRIX[:2])
    np.testing.assert_array_equal(found["k"], MATRIX[2:])


def test_a_matrix_stored_the_other_way_is_turned_and_a_kernel_of_one_is_reshaped() -> None:
    found = translate({"a": MATRIX}, (rule("(.)", r"our_\1", transpose=True),), {"our_a": (2, 3)}, "x")
    np.testing.assert_array_equal(found["our_a"], MATRIX.T)
    assert translate({"a": MATRIX}, (rule("a", "a"),), {"a": (3, 2, 1, 1)}, "x")["a"].shape == (3, 2, 1, 1)


TIED = (rule("embed", "tokens"), rule("head", "scores"), rule("head", same_as="tokens"))


def test_a_tied_matrix_that_a_file_holds_twice_is_taken_once() -> None:
    found = translate({"embed": MATRIX, "head": MATRIX.copy()}, TIED, {"tokens": (3, 2)}, "x")
    assert list(found) == ["tokens"]
    assert list(translate({"embed": MATRIX, "head": MATRIX}, TIED, {"tokens": (3, 2), "scores": (3, 2)}, "x")) == [
        "tokens",
        "scores",
    ]


def test_two_matrices_where_the_model_has_one_are_refused() -> None:
    with pytest.raises(InvalidError, match="'head' differs from 'tokens'"):
        translate({"embed": MATRIX, "head": MATRIX + 1}, TIED, {"tokens": (3, 2)}, "x")


def test_a_name_that_no_rule_knows_is_told() -> None:
    with pytest.raises(InvalidError, match="no rule of 'x' knows the tensor 'other'"):
        translate({"other": MATRIX}, TIED, {"tokens": (3, 2)}, "x")
    with pytest.raises(InvalidError, match="'mlp' has no key map"):
        translate({"embed": MATRIX}, (), {}, "mlp")
