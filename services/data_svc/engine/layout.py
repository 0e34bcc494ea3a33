"""Where labels and splits stand: in the folders, or in a table beside the files."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from services.data_svc.engine.findings import Findings

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Folder names that are splits, and the split that each means."""

TABLE = "labels.csv"
NOTES = {"readme", "license", "licence", "notice", "citation", "changelog", "copying"}
CLASS_DEPTH, SPLIT_DEPTH = 2, 3
ACCEPTED = "accepted are class/file, split/class/file, or a labels.csv (path,label[,split]) beside the files"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the layout says of one file."""

    id: str
    """Its path without the folder that everything lies in."""
    label: str
    split: str = ""
    """Empty where the layout has no splits."""


@dataclass(kw_only=True)
class Layout:
    """Places by path; files that the layout passes over are not in it."""

    places: dict[str, Place] = field(default_factory=dict)

    @property
    def has_splits(self) -> bool:
        """Whether the layout gives every file its split."""
        return bool(self.places) and all(place.split for place in self.places.values())


def is_table(path: str) -> bool:
    """Return whether the file is a table of labels."""
    return path.rpartition("/")[2] == TABLE


def find_layout(paths: Iterable[str], folders: Iterable[str], tables: dict[str, bytes], findings: Findings) -> Layout:
    """Return the place of every file, noting in `findings` those that have none.

    Args:
        paths: every file but the tables.
        folders: folders that the archives name themselves, so that empty splits are noticed.
        tables: bytes of each `labels.csv` by its path.
        findings: takes the faults.
    """
    files = _without_notes(paths, findings)
    if len(tables) > 1:
        findings.fault(", ".join(sorted(tables)), "there are several tables of labels; leave one")
    elif tables:
        return _by_table(files, *next(iter(tables.items())), findings)
    elif files:
        return _by_folders(files, set(folders), findings)
    return Layout()


def _without_notes(paths: Iterable[str], findings: Findings) -> list[str]:
    files = []
    for path in paths:
        name = path.rpartition("/")[2].lower()
        stem, _, suffix = name.partition(".")
        if stem in NOTES and suffix in ("", "md", "txt") and path.count("/") < CLASS_DEPTH:
            findings.warn(f"{path} was left out: it is a note, not a sample")
        else:
            files.append(path)
    return files


def _root(files: list[str]) -> str:
    # A folder around everything is the archive's, not a class or a split.
    parts = files[0].split("/")
    if len(parts) <= CLASS_DEPTH or parts[0] in SPLITS:
        return ""
    root = parts[0] + "/"
    return root if all(path.startswith(root) and path.count("/") >= CLASS_DEPTH for path in files) else ""


def _by_folders(files: list[str], folders: set[str], findings: Findings) -> Layout:
    root = _root(files)
    inner = {path: path.removeprefix(root).split("/") for path in files}
    depth = Counter(len(parts) for parts in inner.values()).most_common(1)[0][0]
    heads = {parts[0] for parts in inner.values() if len(parts) == depth}
    with_splits = depth == SPLIT_DEPTH and heads <= SPLITS.keys()
    if not (with_splits or (depth == CLASS_DEPTH and not heads <= SPLITS.keys())):
        findings.fault(next(path for path, parts in inner.items() if len(parts) == depth), _misfit(depth, heads))
        return Layout()
    layout = Layout()
    for path, parts in inner.items():
        if len(parts) != depth:
            findings.fault(path, f"does not lie like the others, in {'split/class' if with_splits else 'class'}/")
        elif with_splits:
            layout.places[path] = Place(id="/".join(parts), label=parts[1], split=SPLITS[parts[0]])
        else:
            layout.places[path] = Place(id="/".join(parts), label=parts[0])
    if with_splits:
        _name_empty_splits(layout, {folder.removeprefix(root) for folder in folders}, findings)
    return layout


def _misfit(depth: int, heads: set[str]) -> str:
    if depth == 1:
        return f"has no label: it lies in no class folder; {ACCEPTED}"
    if heads <= SPLITS.keys():
        return f"lies in a split folder but in no class folder; {ACCEPTED}"
    return f"lies in folders that are neither class/ nor split/class/; {ACCEPTED}"


def _name_empty_splits(layout: Layout, folders: set[str], findings: Findings) -> None:
    filled = {place.split for place in layout.places.values()}
    for folder in sorted(folders & SPLITS.keys()):
        if SPLITS[folder] not in filled:
            findings.fault(folder, "is an empty split: its folder holds no file; add files or leave the folder out")


def _by_table(files: list[str], table: str, content: bytes, findings: Findings) -> Layout:
    base = str(PurePosixPath(table).parent) + "/" if "/" in table else ""
    known = {path.removeprefix(base): path for path in files}
    root = _shared_folder(files)
    layout = Layout()
    for line, row in _rows(table, content, findings):
        path = known.get(row["path"]) or known.get(root + row["path"])
        problem = _row_problem(row, path, layout)
        if problem or not path:
            findings.fault(f"{table} line {line}", problem)
            continue
        split = SPLITS.get(row["split"], row["split"])
        layout.places[path] = Place(id=path.removeprefix(base or root), label=row["label"], split=split)
    for path in files:
        if path not in layout.places:
            findings.fault(path, f"has no row in {table}")
    given = sum(1 for place in layout.places.values() if place.split)
    if 0 < given < len(layout.places):
        findings.fault(table, f"gives a split to {given} of {len(layout.places)} files; give it to all or to none")
    return layout


def _shared_folder(files: list[str]) -> str:
    heads = {path.split("/")[0] for path in files if "/" in path}
    return heads.pop() + "/" if len(heads) == 1 and all("/" in path for path in files) else ""


def _rows(table: str, content: bytes, findings: Findings) -> list[tuple[int, dict[str, str]]]:
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        names = [name.strip().lower() for name in reader.fieldnames or []]
        if set(names) - {"split"} != {"path", "label"}:
            findings.fault(table, f"has the columns {', '.join(names) or 'none'}; it needs path,label[,split]")
            return []
        reader.fieldnames = names
        return [
            (reader.line_num, {name: (row.get(name) or "").strip() for name in ("path", "label", "split")})
            for row in reader
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        findings.fault(table, f"cannot be read as CSV in UTF-8: {error}")
        return []


def _row_problem(row: dict[str, str], path: str | None, layout: Layout) -> str:
    if path is None:
        return f"names {row['path']!r}, which is not among the files"
    if path in layout.places:
        return f"names {row['path']!r} a second time; keep one row"
    return "" if row["label"] else f"gives {row['path']!r} no label"
