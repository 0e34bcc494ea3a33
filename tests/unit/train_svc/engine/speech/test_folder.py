import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # has no types

from services.common.errors import InvalidError
from services.train_svc.engine.speech.folder import read_folder


def record(path: Path, samples: int = 1600, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(samples, np.float32), rate)


def table(folder: Path, *lines: str, columns: str = "path\tsplit\ttext") -> Path:
    (folder / "transcripts.tsv").write_text("\n".join((columns, *lines)) + "\n", "utf-8")
    return folder


def test_a_table_gives_the_utterances_by_split(tmp_path: Path) -> None:
    for name in ("a.wav", "sub/b.flac", "c.wav"):
        record(tmp_path / name)
    lines = ("en\ta.wav\ttrain\tx1\tturn on\t40", "zh\tsub/b.flac\tdev\tx2\t打开 灯\t50", "en\tc.wav\ttest\tx3\tgo\t60")
    found = read_folder(table(tmp_path, *lines, columns="language\tpath\tsplit\tid\ttext\tpitch"))
    assert {split: [each.id for each in them] for split, them in found.items()} == {
        "train": ["x1"], "validation": ["x2"], "test": ["x3"],
    }  # fmt: skip
    [first] = found["validation"]
    assert (first.text, first.language, first.audio) == ("打开 灯", "zh", tmp_path / "sub/b.flac")
    assert first.count_samples(16_000) == 1600


def test_without_an_id_the_path_names_it_and_windows_lines_are_read(tmp_path: Path) -> None:
    record(tmp_path / "sub/a.wav")
    text = '\ufeffpath\tsplit\ttext\r\nsub/a.wav\ttrain\tsaid "so"\r\n'
    (tmp_path / "transcripts.tsv").write_bytes(text.encode())
    [found] = read_folder(tmp_path)["train"]
    assert (found.id, found.text) == ("sub/a", 'said "so"')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav\ttrain", "line 2: has 2 columns, wanted 3"),
        ("a.wav\tlearn\tgo", "line 2: the split is 'learn', wanted one of train"),
        ("b.wav\ttrain\tgo", "line 2: there is no file .*b.wav"),
        ("a.wav\ttrain\t ", "line 2: has no text"),
        ("../a.wav\ttrain\tgo", "line 2: .*must lie within the folder"),
        ("/etc/passwd\ttrain\tgo", "line 2: .*must lie within the folder"),
        ("a.wav\ttrain\tgo\na.wav\ttest\tgo", "line 3: the id 'a' is there already"),
        ("", "has no line below its first"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    with pytest.raises(InvalidError, match=message):
        read_folder(table(tmp_path, line))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="line 1: names no column split, text; got path, words"):
        read_folder(table(tmp_path, columns="path\twords"))


def test_a_table_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "transcripts.tsv").write_bytes("path\tsplit\ttext\na.wav\ttrain\t打开".encode("gbk"))
    with pytest.raises(InvalidError, match="is not UTF-8"):
        read_folder(tmp_path)


@pytest.mark.parametrize("within", [".", "data_aishell"])
def test_aishells_layout_is_known(within: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / within
    names = {"train/S0002/BAC009S0002W0122": "而 对 楼市 成交", "dev/S0724/BAC009S0724W0121": "广州市 房地产",
             "test/S0764/BAC009S0764W0121": "甚至 出现 Ｔ 交易"}  # fmt: skip
    for name in (*names, "train/S0002/BAC009S0002W0999", "train/S0002/BAC009S0002W0998"):
        record(root / "wav" / f"{name}.wav")
    lines = [f"{name.rpartition('/')[2]} {text}" for name, text in names.items()]
    (root / "transcript").mkdir()
    (root / "transcript/aishell_transcript_v0.8.txt").write_text("\n".join([*lines, "", "BAC009S0002W0998"]), "utf-8")
    with caplog.at_level(logging.WARNING):
        found = read_folder(tmp_path)
    assert [(split, [(each.speaker, each.text) for each in them]) for split, them in found.items()] == [
        ("train", [("S0002", "而对楼市成交")]),
        ("validation", [("S0724", "广州市房地产")]),
        ("test", [("S0764", "甚至出现Ｔ交易")]),
    ]
    [warning] = caplog.messages
    assert warning.startswith("2 recordings")


def test_packed_aishell_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "wav").mkdir()
    (tmp_path / "transcript").mkdir()
    (tmp_path / "wav/S0002.tar.gz").touch()
    with pytest.raises(InvalidError, match="unpack them first"):
        read_folder(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"transcripts\.tsv with the columns path, split, text"):
        read_folder(tmp_path)
