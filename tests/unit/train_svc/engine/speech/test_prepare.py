"""The corpus of examples/03-speech-commands."""

import csv
import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # has no types
import yaml

from services.train_svc.engine.sources import read_model
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.speech.corpus import SpeechCorpus
from services.train_svc.engine.speech.folder import read_folder

SCRIPT = Path(__file__).parents[5] / "examples" / "03-speech-commands" / "prepare.py"
SCALE = 0.02
needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_speech", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["prepare_speech"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(prepare: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("speech")
    prepare.prepare(folder, SCALE)
    return folder


@needs_espeak
def test_it_is_a_corpus_in_two_languages(folder: Path) -> None:
    splits = read_folder(folder)
    assert {name: len(utterances) for name, utterances in splits.items()} == {"train": 60, "validation": 6, "test": 10}
    assert {each.language for each in splits["test"]} == {"zh", "en"}
    corpus = SpeechCorpus.of(splits)
    for recordings in corpus.splits.values():
        assert recordings.frames().min() > 20
        assert np.isfinite(recordings.features(0)).all()


@needs_espeak
def test_the_same_seed_speaks_the_same_and_what_is_whole_is_left_alone(
    prepare: ModuleType, folder: Path, tmp_path: Path
) -> None:
    assert prepare.prepare(folder, SCALE) == 0
    assert prepare.prepare(tmp_path, SCALE) == 76
    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


@needs_espeak
def test_recordings_differ_in_voice_level_and_noise(folder: Path) -> None:
    waves = [soundfile.read(path, dtype="float32") for path in sorted((folder / "train").glob("*.flac"))]
    assert {rate for _, rate in waves} == {16_000}
    peaks = [float(np.abs(wave).max()) for wave, _ in waves]
    quiet = [float(np.abs(wave[:1000]).mean() / np.abs(wave).max()) for wave, _ in waves]
    assert max(peaks) > 4 * min(peaks)
    assert max(quiet) > 4 * min(quiet)


def test_no_voice_is_heard_in_two_splits(prepare: ModuleType) -> None:
    voices: dict[str, set[str]] = {}
    for line, _ in prepare.plan(1.0, 7):
        voices.setdefault(line.split, set()).add(line.speaker)
    assert {name: sorted(them) for name, them in voices.items()} == {
        name: sorted(them) for name, them in prepare.VARIANTS.items()
    }
    assert not voices["train"] & voices["test"]
    assert not voices["train"] & voices["validation"]
    assert not voices["validation"] & voices["test"]


def test_every_word_is_learnt_before_it_is_tested(prepare: ModuleType) -> None:
    texts: dict[str, list[str]] = {}
    for line, _ in prepare.plan(1.0, 7):
        texts.setdefault(line.split, []).append(line.text)
    assert {split: len(them) for split, them in texts.items()} == prepare.COUNTS
    assert set("".join(texts["test"])) <= set("".join(texts["train"]))
    assert {*prepare.COMMANDS["zh"], *prepare.COMMANDS["en"]} <= set(texts["train"])


def test_the_table_is_one_line_an_utterance(prepare: ModuleType) -> None:
    lines = [line for line, _ in prepare.plan(SCALE, 7)]
    first, *rows = csv.reader(prepare.write_table(lines).splitlines(), delimiter="\t")
    assert first[:4] == ["id", "path", "split", "language"]
    assert [row[0] for row in rows] == [line.id for line in lines]


def test_a_missing_espeak_is_named_with_the_cure(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install espeak-ng"):
        prepare.prepare(tmp_path / "data")


def test_the_recipe_is_one_that_can_be_read() -> None:
    recipe = yaml.safe_load((SCRIPT.parent / "train.yaml").read_text())["train"]
    model = recipe.pop("model")
    spec = TrainSpec.from_mapping(recipe)
    assert spec.loss.name == "ctc"
    model["decoder"]["vocab_size"] = 79
    assert read_model(model).output_shapes == {"logits": (None, 79)}
