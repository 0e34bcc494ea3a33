import json
import math

import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.spec import EarlyStoppingSpec
from services.train_svc.engine.training.stopping import EarlyStopping


def ends_at(spec: EarlyStoppingSpec, values: list[float], primary: str = "validation_accuracy") -> int | None:
    stopping = EarlyStopping(spec, primary)
    found = (epoch for epoch, value in enumerate(values, 1) if stopping.update(epoch, {primary: value}))
    return next(found, None)


def patience(epochs: int, **options: float) -> EarlyStoppingSpec:
    return EarlyStoppingSpec(patience_epochs=epochs, **options)  # type: ignore[arg-type]  # numbers of a test


def test_a_run_ends_once_it_did_not_improve_for_so_many_epochs() -> None:
    assert ends_at(patience(2), [0.5, 0.6, 0.6, 0.59, 0.9]) == 4


def test_what_still_improves_goes_on() -> None:
    assert ends_at(patience(2), [0.5, 0.4, 0.6, 0.5, 0.7, 0.6]) is None


@pytest.mark.parametrize("primary", ["validation_cer", "perplexity", "validation_rmse", "loss"])
def test_errors_improve_by_falling(primary: str) -> None:
    assert ends_at(patience(2), [0.5, 0.4, 0.3, 0.2], primary) is None
    assert ends_at(patience(2), [0.5, 0.6, 0.7, 0.2], primary) == 3


def test_without_patience_nothing_ends_and_nothing_is_asked_for() -> None:
    stopping = EarlyStopping(EarlyStoppingSpec(metric="unknown"), "accuracy")
    assert not any(stopping.update(epoch, {}) for epoch in range(1, 50))


def test_a_change_that_is_too_small_is_no_improvement() -> None:
    assert ends_at(patience(3, least_change=0.1), [0.5, 0.55, 0.58, 0.59]) == 4
    assert ends_at(patience(3, least_change=0.125), [0.5, 0.55, 0.58, 0.625, 0.7, 0.7]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_no_improvement(value: float) -> None:
    assert ends_at(patience(2), [0.5, value, value]) == 3
    assert ends_at(patience(2), [value, value]) == 2
    assert ends_at(patience(2), [value, 0.1, value, 0.2]) is None


@pytest.mark.parametrize("cut", range(6))
def test_a_resumed_run_ends_where_it_would_have(cut: int) -> None:
    values = [0.5, 0.6, 0.55, 0.7, 0.7, 0.6, 0.65, 0.9]
    whole = ends_at(patience(3), values)
    first = EarlyStopping(patience(3), "accuracy")
    for epoch in range(1, cut + 1):
        first.update(epoch, {"accuracy": values[epoch - 1]})
    second = EarlyStopping(patience(3), "accuracy")
    second.restore(json.loads(json.dumps(first.state)))
    rest = range(cut + 1, len(values) + 1)
    assert next(epoch for epoch in rest if second.update(epoch, {"accuracy": values[epoch - 1]})) == whole == 7


def test_a_run_that_is_over_stays_over_when_it_is_resumed() -> None:
    first, second = EarlyStopping(patience(1), "accuracy"), EarlyStopping(patience(1), "accuracy")
    for epoch in (1, 2):
        first.update(epoch, {"accuracy": 0.5})
    second.restore(first.state)
    assert second.is_over
    second.restore(None)
    assert not second.is_over


def test_a_metric_is_found_with_and_without_its_prefix() -> None:
    spec = EarlyStoppingSpec(patience_epochs=1, metric="f1_macro")
    assert not EarlyStopping(spec, "accuracy").update(1, {"validation_f1_macro": 0.5, "validation_accuracy": 0.4})
    assert not EarlyStopping(patience(1), "validation_accuracy").update(1, {"accuracy": 0.5})


def test_a_metric_that_was_not_measured_is_named_with_the_nearest() -> None:
    spec = EarlyStoppingSpec(patience_epochs=1, metric="validation_acuracy")
    with pytest.raises(InvalidError, match="'validation_acuracy' was not measured; did you mean") as caught:
        EarlyStopping(spec, "accuracy").update(1, {"validation_loss": 1.0, "validation_accuracy": 0.5})
    assert "measured: validation_accuracy, validation_loss" in caught.value.message
    assert caught.value.violations[0].field == "train.early_stopping.metric"
