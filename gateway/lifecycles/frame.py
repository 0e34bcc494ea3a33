"""The frame of a lifecycle document: which sections there are, and the parts no service owns."""

import re
from functools import partial
from typing import Any

from gateway.lifecycles.document import Document, Path, invalid
from gateway.lifecycles.fields import FieldReader, kind_of
from gateway.lifecycles.gate import check_figure, parse_bound
from gateway.lifecycles.spec import DataSection, GateSection, LifecycleSpec, ServeSection, Upload
from services.common.digest import PATTERN
from services.common.names import check_name

SECTIONS = ("name", "project", "data", "train", "compress", "gate", "serve")
DATA_KEYS = ("source", "uploads", "dataset", "split", "seed", "stratify", "parent")
COMMIT_KEYS = ("source", "uploads", "split", "seed", "stratify", "parent")
GATE_KEYS = ("bounds", "prefer")
SERVE_KEYS = ("deployment", "alias", "options")
TRAINED_ON = ("train", "test")
MAX_UPLOADS = 10_000
MAX_BOUNDS = 100
VERSION_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def read_frame(document: Document, project: str, *, with_source: bool) -> LifecycleSpec:
    """Return the lifecycle that the document states.

    Args:
        document: as parsed.
        project: of the address it was sent to; the document may repeat it, not contradict it.
        with_source: allow `data.source`, which only the command line can turn into uploads.

    Raises:
        InvalidError: with every fault of the frame at once, each at its line.
    """
    reader = _FrameReader(document, project, with_source=with_source)
    spec = reader.read()
    if reader.fields.violations or spec is None:
        raise invalid(reader.fields.violations, "the lifecycle")
    return spec


class _FrameReader:
    """Reads section after section, collecting faults in place of stopping at the first."""

    def __init__(self, document: Document, project: str, *, with_source: bool) -> None:
        self.fields = FieldReader(document)
        self._document = document
        self._project = project
        self._with_source = with_source

    def read(self) -> LifecycleSpec | None:
        root = self._document.value
        if not isinstance(root, dict):
            self.fields.refuse(
                (), f"a lifecycle is a mapping with the keys {', '.join(SECTIONS)}; this is {kind_of(root)}"
            )
            return None
        self.fields.check_keys((), root, SECTIONS)
        self._check_project(root)
        name = self.fields.name(root, (), "name", required=True)
        data = self._data(root)
        train = self.fields.section(root, "train")
        compress = self.fields.section(root, "compress")
        gate = self._gate(root)
        serve = self._serve(root)
        self._check_order(root)
        if data is not None and train is not None:
            self._check_splits(data)
        if self.fields.violations or data is None:
            return None
        return LifecycleSpec(
            name=name,
            project=self._project,
            data=data,
            train=train,
            compress=compress,
            gate=gate,
            serve=serve,
            document=self._document,
        )

    def _check_project(self, root: dict[str, Any]) -> None:
        stated = root.get("project", self._project)
        if stated != self._project:
            self.fields.refuse(
                ("project",),
                f"{stated!r} is not the project this was sent to, {self._project!r}; send it there or remove the key",
            )

    def _check_order(self, root: dict[str, Any]) -> None:
        if "compress" in root and "train" not in root:
            self.fields.refuse(("compress",), "needs `train`: it compresses the model that is trained; add it")
        if "gate" in root and "compress" not in root:
            self.fields.refuse(("gate",), "needs `compress`: it reads the report cards of the variants; add it")
        if "serve" in root and "train" not in root:
            self.fields.refuse(("serve",), "needs `train`: it serves the model that is trained; add it")

    def _check_splits(self, data: DataSection) -> None:
        missing = [name for name in TRAINED_ON if name not in data.fractions]
        if data.fractions and missing:
            names = " and ".join(repr(name) for name in missing)
            self.fields.refuse(
                ("data", "split"), f"has no {names}; `train` learns from 'train' and is measured on 'test': add them"
            )

    def _data(self, root: dict[str, Any]) -> DataSection | None:
        data = self.fields.section(root, "data", required=True)
        if data is None:
            return None
        self.fields.check_keys(("data",), data, DATA_KEYS)
        commits = "uploads" in data or "source" in data
        if not commits:
            for key in sorted(set(data) & set(COMMIT_KEYS)):
                self.fields.refuse(
                    ("data", key),
                    "has no meaning without `source` or `uploads`: the version that "
                    "`dataset` names exists already; remove it or add them",
                )
        if "source" in data:
            self.fields.text(data, ("data",), "source")
            if not self._with_source and "uploads" not in data:
                self.fields.refuse(
                    ("data", "source"),
                    "names a folder of your machine, which the gateway cannot read: "
                    "`modelwright apply -f` uploads it; over REST, upload its files and "
                    "give `uploads: [{id, digest}]` in its place",
                )
        return DataSection(
            dataset=self.fields.name(data, ("data",), "dataset", required=True) if commits else self._dataset_ref(data),
            source=str(data.get("source", "")),
            uploads=self._uploads(data),
            fractions=self._fractions(data),
            seed=self.fields.typed(data, ("data",), "seed", int, 0),
            stratify=self.fields.typed(data, ("data",), "stratify", bool, False),
            parent=self.fields.text(data, ("data",), "parent"),
        )

    def _dataset_ref(self, data: dict[str, Any]) -> str:
        ref = self.fields.text(data, ("data",), "dataset", required=True)
        name, _, number = ref.partition(":")
        if ref and not PATTERN.fullmatch(ref):
            self.fields.guard(("data", "dataset"), lambda: check_name(name, "dataset"))
            if ":" in ref and not VERSION_NUMBER.fullmatch(number):
                self.fields.refuse(
                    ("data", "dataset"), f"{ref!r} is not a version; write 'digits:3', 'digits' or 'sha256:…'"
                )
        return ref

    def _uploads(self, data: dict[str, Any]) -> tuple[Upload, ...]:
        found = self.fields.typed(data, ("data",), "uploads", list, [])
        if "uploads" in data and isinstance(data["uploads"], list) and not 1 <= len(found) <= MAX_UPLOADS:
            self.fields.refuse(("data", "uploads"), f"has {len(found)} entries; give 1 to {MAX_UPLOADS}")
            return ()
        uploads = []
        for index, item in enumerate(found):
            path: Path = ("data", "uploads", index)
            entry = {"id": item} if isinstance(item, str) else item
            if not isinstance(entry, dict):
                self.fields.refuse(path, f"is {kind_of(entry)}; write {{id: …, digest: sha256:…}}")
                continue
            self.fields.check_keys(path, entry, ("id", "digest"))
            digest = self.fields.text(entry, path, "digest")
            if digest and not PATTERN.fullmatch(digest):
                self.fields.refuse(
                    (*path, "digest"), f"{digest!r} is not a digest; one reads 'sha256:' and 64 hex digits"
                )
            uploads.append(Upload(id=self.fields.text(entry, path, "id", required=True), digest=digest))
        return tuple(uploads)

    def _fractions(self, data: dict[str, Any]) -> dict[str, float]:
        split = self.fields.typed(data, ("data",), "split", dict, {})
        fractions = {}
        for name, share in split.items():
            if isinstance(share, bool) or not isinstance(share, int | float):
                self.fields.refuse(
                    ("data", "split", name), f"is {kind_of(share)}; give the split's fraction, such as 0.8"
                )
            else:
                fractions[name] = float(share)
        return fractions

    def _gate(self, root: dict[str, Any]) -> GateSection | None:
        gate = self.fields.section(root, "gate")
        if gate is None:
            return None
        self.fields.check_keys(("gate",), gate, GATE_KEYS)
        texts = self.fields.typed(gate, ("gate",), "bounds", list, [])
        if len(texts) > MAX_BOUNDS:
            self.fields.refuse(("gate", "bounds"), f"has {len(texts)} bounds; at most {MAX_BOUNDS} are read")
            texts = []
        bounds = [self.fields.guard(("gate", "bounds", i), partial(parse_bound, text)) for i, text in enumerate(texts)]
        prefer = self.fields.guard(("gate", "prefer"), partial(check_figure, gate.get("prefer", "p50_ms")))
        return GateSection(bounds=tuple(bound for bound in bounds if bound), prefer=prefer or "p50_ms")

    def _serve(self, root: dict[str, Any]) -> ServeSection | None:
        serve = self.fields.section(root, "serve")
        if serve is None:
            return None
        self.fields.check_keys(("serve",), serve, SERVE_KEYS)
        return ServeSection(
            deployment=self.fields.name(serve, ("serve",), "deployment", required=True),
            alias=self.fields.name(serve, ("serve",), "alias"),
            options=self.fields.typed(serve, ("serve",), "options", dict, {}),
        )
