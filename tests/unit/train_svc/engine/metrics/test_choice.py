import typing

import pytest

from services.train_svc.engine.metrics import goes_up, primary
from services.train_svc.engine.spec import LossSpec
from services.train_svc.engine.spec.loss import LossName


@pytest.mark.parametrize(
    "name",
    ["loss", "validation_loss", "ctc_loss", "token_error", "cer", "validation_cer", "wer", "mer", "validation_mer_zh",
     "mer_en", "perplexity", "rmse", "mae", "mase", "validation/cer", "cer_ci_low"],
)  # fmt: skip
def test_errors_and_losses_shall_fall(name: str) -> None:
    assert not goes_up(name)


@pytest.mark.parametrize(
    "name",
    ["accuracy", "validation_accuracy", "top5_accuracy", "f1_macro", "miou", "r2", "customer", "accuracy_ci_low"],
)
def test_all_else_shall_rise(name: str) -> None:
    assert goes_up(name)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("cross_entropy", ("accuracy", "rise")),
        ("ctc", ("cer", "fall")),
        ("ctc_attention", ("cer", "fall")),
        ("attention", ("cer", "fall")),
        ("rnnt", ("cer", "fall")),
        ("language_model", ("perplexity", "fall")),
        ("masked_lm", ("perplexity", "fall")),
        ("segmentation", ("miou", "rise")),
        ("regression", ("rmse", "fall")),
        ("forecast", ("rmse", "fall")),
    ],
)
def test_each_loss_has_a_metric_that_tells_better_from_worse(loss: LossName, expected: tuple[str, str]) -> None:
    assert primary(LossSpec(name=loss)) == expected


def test_no_loss_is_left_out() -> None:
    assert all(primary(LossSpec(name=name)) for name in typing.get_args(LossName))
