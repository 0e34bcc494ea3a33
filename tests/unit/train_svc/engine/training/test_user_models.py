"""A user's own models, and data in whatever form a user has it."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from services.common.errors import InvalidError
from services.train_svc.engine.training.trainer import Trainer
from tests.unit.train_svc.engine.training.trainers import (
    SMALL_MLP,
    Pairs,
    Recorder,
    curve_of,
    in_pieces,
    pictures,
    trainer,
    vectors,
    weights_of,
)

SETTINGS: dict[str, Any] = {"lr": 0.05, "schedule": "constant", "epochs": 5}


def network(seed: int = 0, *, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


class Pair(nn.Module):
    """Two inputs, and several outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.top = nn.Linear(4, 8), nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = torch.tanh(self.left(left) + self.right(right))
        return {"hidden": hidden, "logits": self.top(hidden)}


def twofold(*, named: bool) -> list[Any]:
    more = np.random.default_rng(1).standard_normal((8, 2)).astype(np.float32)
    return [({"left": x, "right": more} if named else (x, more), y) for x, y in vectors()]


def keras_network(*, built: bool = True, dropout: float = 0.0) -> Any:
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dropout(dropout), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers] if built else layers)


def halves(recorder: Recorder) -> tuple[float, float]:
    losses = recorder.of("train_loss")
    middle = len(losses) // 2
    return float(np.mean(losses[:middle])), float(np.mean(losses[middle:]))


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_model_of_the_users_own_learns_in_place_and_is_evaluated(engine: str, tmp_path: Path) -> None:
    model = network(dropout=0.0) if engine == "torch" else keras_network()
    run = trainer(model, (vectors(), vectors(2, seed=5)), tmp_path, **SETTINGS)
    first, second = halves(curve_of(run))
    assert second < 0.8 * first
    assert run.model is model
    assert run.spec.engine == engine
    assert run.evaluate("validation")["accuracy"] > 0.5


@pytest.mark.parametrize("data", [twofold(named=True), twofold(named=False)], ids=["by name", "in order"])
def test_a_model_of_several_inputs_that_returns_a_dict_is_scored_by_its_logits(data: Any, tmp_path: Path) -> None:
    first, second = halves(curve_of(trainer(Pair(), data, tmp_path, **SETTINGS)))
    assert second < 0.8 * first


def test_frozen_layers_stay_and_the_others_learn(tmp_path: Path) -> None:
    model = network()
    model[0].requires_grad_(False)  # type: ignore[index]  # a Sequential
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    run = trainer(model, vectors(), tmp_path, ema_decay=0.5, accumulate=2, **SETTINGS)
    run.fit()
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(after["4.weight"], before["4.weight"])
    assert run.learner.parameters == sum(each.numel() for each in model.parameters() if each.requires_grad)


def test_a_keras_model_that_was_never_called_is_built_by_its_first_batch(tmp_path: Path) -> None:
    first, second = halves(curve_of(trainer(keras_network(built=False), vectors(), tmp_path, **SETTINGS)))
    assert second < 0.8 * first


def test_a_keras_layer_that_is_frozen_stays(tmp_path: Path) -> None:
    model = keras_network()
    model.layers[0].trainable = False
    before = [np.array(each) for each in model.get_weights()]
    trainer(model, vectors(), tmp_path, **SETTINGS).fit()
    same = [np.array_equal(now, then) for now, then in zip(model.get_weights(), before, strict=True)]
    assert same == [True, True, False, False]


def test_lazy_layers_get_their_sizes_from_the_first_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3))
    first, second = halves(curve_of(trainer(model, vectors(), tmp_path, **SETTINGS)))
    assert second < 0.8 * first


def loader() -> DataLoader[Any]:
    data = vectors(6)
    x, y = (torch.from_numpy(np.concatenate(each)) for each in zip(*data, strict=True))
    return DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True)


def test_a_shuffled_loader_goes_on_mid_epoch_where_it_stood(tmp_path: Path) -> None:
    whole = curve_of(trainer(network(), loader(), tmp_path / "whole", **SETTINGS))

    def make(attempt: int) -> Trainer:
        # The next process begins with other weights and another state of every generator.
        return trainer(network(attempt), loader(), tmp_path / "pieces", **SETTINGS)

    pieces, _ = in_pieces(make, (4, 15))
    assert pieces.points == whole.points
    first, second = whole.of("train_loss")[:6], whole.of("train_loss")[6:12]
    assert sorted(first) != sorted(second)


@pytest.mark.parametrize("built", [True, False])
def test_a_keras_model_made_anew_goes_on_from_the_checkpoint_of_another(built: bool, tmp_path: Path) -> None:
    # Keras numbers the names of layers through a process; where its dropout stands is a variable of the model.
    whole = curve_of(trainer(keras_network(dropout=0.2), vectors(), tmp_path / "whole", **SETTINGS))

    def make(_attempt: int) -> Trainer:
        model = keras_network(built=built, dropout=0.2)
        return trainer(model, vectors(), tmp_path / "pieces", **SETTINGS)

    pieces, _ = in_pieces(make, (3, 10))
    assert pieces.points == whole.points


def test_a_list_a_function_and_a_loader_of_the_same_batches_train_alike(tmp_path: Path) -> None:
    data = vectors()

    def generate() -> Iterator[Any]:
        yield from data

    x, y = (torch.from_numpy(np.concatenate(each)) for each in zip(*data, strict=True))
    unshuffled: DataLoader[Any] = DataLoader(TensorDataset(x, y), batch_size=8)
    mappings = [{"inputs": x, "targets": y, "ids": [f"row {row}" for row in range(8)]} for x, y in data]
    forms: dict[str, Any] = {"list": data, "function": generate, "loader": unshuffled, "mappings": mappings}
    curves = [
        curve_of(trainer(network(), form, tmp_path / name, **SETTINGS)).of("train_loss") for name, form in forms.items()
    ]
    assert all(curve == curves[0] for curve in curves[1:])


def test_without_validation_nothing_is_evaluated_and_with_it_every_epoch_is(tmp_path: Path) -> None:
    alone = curve_of(trainer(network(), vectors(), tmp_path / "a", **SETTINGS))
    both = curve_of(trainer(network(), (vectors(), vectors(1, seed=9)), tmp_path / "b", **SETTINGS))
    assert not alone.of("validation_loss")
    assert len(both.of("validation_loss")) == SETTINGS["epochs"]
    assert both.of("train_loss") == alone.of("train_loss")


def write_folder(root: Path, data: Pairs) -> Path:
    for batch, (found, labels) in enumerate(data):
        for place, (picture, label) in enumerate(zip(found, labels, strict=True)):
            folder = root / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[0]).save(folder / f"{batch}-{place}.png")
    return root


def test_a_folder_of_pictures_is_trained_on_and_a_part_of_it_held_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "digits", pictures(12, 32, classes=3))
    run = trainer(SMALL_MLP, str(folder), tmp_path / "run", epochs=12, optimizer={"lr": 0.02})
    fit = run.fit()
    assert list(run.material.labels) == ["digit 0", "digit 1", "digit 2"]
    assert fit.metrics["validation_accuracy"] > 0.7
    assert run.evaluate("validation")["accuracy"] == pytest.approx(fit.metrics["validation_accuracy"])


def test_a_model_of_the_users_own_learns_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "digits", pictures(12, 32, classes=3))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    fit = trainer(model, folder, tmp_path / "run", epochs=12, optimizer={"lr": 0.02}).fit()
    assert fit.metrics["validation_accuracy"] > 0.7


def test_a_model_of_other_engines_is_refused_where_it_is_given(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"train.engine: got 'tensorflow', and the model is of torch; leave it out"):
        trainer(network(), vectors(), tmp_path, engine="tensorflow")


def test_weights_in_half_precision_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"weights are torch.float16, and are trained in float32; give `model.float"):
        trainer(network().half(), vectors(), tmp_path).fit()


def test_a_models_own_error_names_the_step_the_batch_and_the_line(tmp_path: Path) -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)  # type: ignore[no-any-return]  # torch's own

    wanted = (
        r"step 1: the model failed in forward, line \d+ of .*test_user_models.py: RuntimeError: mat1 and mat2 .*"
        r"the batch held input float32 \[8, 4\], labels int64 \[8\]"
    )
    with pytest.raises(InvalidError, match=wanted) as caught:
        trainer(Wrong(), vectors(), tmp_path).fit()
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_keras_models_own_error_is_one_sentence(tmp_path: Path) -> None:
    keras = importlib.import_module("keras")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    wanted = r"step 1 .*: the model failed.*: ValueError: .*value 5, but received input with shape \(1, 4\)"
    with pytest.raises(InvalidError, match=wanted) as caught:
        trainer(model, vectors(), tmp_path).fit()
    assert "\n" not in caught.value.message


def test_weights_after_a_run_are_those_of_its_last_checkpoint(tmp_path: Path) -> None:
    run = trainer(network(), vectors(), tmp_path, keep_best=0, **SETTINGS)
    run.fit()
    left = weights_of(run)
    again = trainer(network(7), vectors(), tmp_path, keep_best=0, **SETTINGS)
    assert again.fit(resume=True).step == 20
    assert all(np.array_equal(tensor, left[name]) for name, tensor in weights_of(again).items())
