"""Speech in a folder: with a table of transcripts, or laid out as AISHELL is."""

import csv
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from services.train_svc.engine.reading import fault
from services.train_svc.engine.speech.utterance import Utterance

LOG = logging.getLogger("modelwright.train")
TABLE = "transcripts.tsv"
NEEDED_COLUMNS, OPTIONAL_COLUMNS = ("path", "split", "text"), ("id", "language", "speaker")
SPLITS = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test",
}  # fmt: skip
"""What people call the splits, and what we do."""
AISHELL_SPLITS = ("train", "dev", "test")

Splits = dict[str, list[Utterance]]


def is_speech_folder(folder: Path) -> bool:
    """Say whether a folder has one of the layouts that `read_folder` knows."""
    roots = [root for root in (folder, folder / "data_aishell") if (root / "wav").is_dir()]
    return (folder / TABLE).is_file() or any((root / "transcript").is_dir() for root in roots)


def read_folder(folder: Path) -> Splits:
    """Return the utterances of a folder by split: train, validation, test.

    Two layouts are known:

    - `transcripts.tsv` in UTF-8, whose first line names the columns, parted by tabs, in any order: `path` (of a WAV,
      FLAC or OGG file, within the folder), `split` (train, validation or dev, test), `text`; and, if wanted, `id` (the
      path without its ending), `language` and `speaker`. Other columns are left alone.
    - AISHELL's (Bu et al. 2017, arXiv 1709.05522), perhaps within `data_aishell`: `wav/{train,dev,test}/SPEAKER/ID.wav`
      and `transcript/*.txt` with lines `ID word word ...`, whose spaces mean nothing. Recordings without a transcript
      are left out, with one warning.

    Raises:
        InvalidError: it is neither, or a line of a table is wrong: which, and how to cure it.
    """
    if (folder / TABLE).is_file():
        return _read_table(folder)
    for root in (folder, folder / "data_aishell"):
        if (root / "wav").is_dir() and (root / "transcript").is_dir():
            return _read_aishell(root)
    wanted = f"a {TABLE} with the columns {', '.join(NEEDED_COLUMNS)}, or AISHELL's wav/ and transcript/"
    raise fault(str(folder), f"holds no speech that is known here; wanted {wanted}")


def _read_table(folder: Path) -> Splits:
    found: Splits = {}
    seen: set[str] = set()
    table = folder / TABLE
    for place, row in _rows(table):
        utterance = _utterance(folder, row, place)
        if utterance.id in seen:
            raise fault(place, f"the id {utterance.id!r} is there already; ids must differ")
        seen.add(utterance.id)
        found.setdefault(_split(row["split"], place), []).append(utterance)
    if not found:
        raise fault(str(table), "has no line below its first")
    return found


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    # Each line by its column's names, and its place for messages.
    try:
        lines = table.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise fault(str(table), f"is not UTF-8: {error}; write it anew in UTF-8") from error
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = next(reader, [])
    missing = [name for name in NEEDED_COLUMNS if name not in columns]
    if missing:
        raise fault(f"{table}, line 1", f"names no column {', '.join(missing)}; got {', '.join(columns) or 'nothing'}")
    for values in reader:
        place = f"{table}, line {reader.line_num}"
        if not values:
            continue
        if len(values) != len(columns):
            raise fault(place, f"has {len(values)} columns, wanted {len(columns)}, parted by tabs")
        yield place, dict(zip(columns, values, strict=True))


def _utterance(folder: Path, row: Mapping[str, str], place: str) -> Utterance:
    path = PurePosixPath(row["path"])
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise fault(place, f"the path {row['path']!r} must lie within the folder")
    if not (folder / path).is_file():
        raise fault(place, f"there is no file {str(folder / path)!r}")
    if not row["text"].strip():
        raise fault(place, "has no text; write what is said, or leave the line out")
    return Utterance(
        id=row.get("id") or str(path.with_suffix("")),
        audio=folder / path,
        text=row["text"],
        language=row.get("language", ""),
        speaker=row.get("speaker", ""),
    )


def _split(name: str, place: str) -> str:
    if name not in SPLITS:
        raise fault(place, f"the split is {name!r}, wanted one of {', '.join(SPLITS)}")
    return SPLITS[name]


def _read_aishell(root: Path) -> Splits:
    texts = _aishell_texts(root / "transcript")
    found: Splits = {}
    lost: list[str] = []
    for split in AISHELL_SPLITS:
        for path in sorted((root / "wav" / split).glob("*/*.wav")):
            if path.stem not in texts:
                lost.append(path.stem)
                continue
            utterance = Utterance(
                id=path.stem, audio=path, text=texts[path.stem], language="zh", speaker=path.parent.name
            )
            found.setdefault(SPLITS[split], []).append(utterance)
    if lost:
        LOG.warning("%d recordings in %s have no transcript and are left out, such as %s", len(lost), root, lost[0])
    if not found:
        packed = " There are tar.gz files: unpack them first." if any((root / "wav").glob("*.tar.gz")) else ""
        raise fault(str(root), f"has no recording with a transcript in wav/train, wav/dev or wav/test.{packed}")
    return found


def _aishell_texts(folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted(folder.glob("*.txt")):
        for line in path.read_text("utf-8-sig").splitlines():
            name, *words = line.split() or [""]
            if words:
                texts[name] = "".join(words)
    return texts
