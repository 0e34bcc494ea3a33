"""The files of a package, and their one digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.common.digest import check_digest, digest_json
from services.common.errors import InvalidError

MODEL = "model.onnx"
MODEL_DATA = "model.onnx.data"
"""Tensors of an ONNX model past 2 GiB."""
SIGNATURE = "signature.json"
GOLDEN = "golden.npz"
PREPROCESS = "preprocess.yaml"
LABELS = "labels.json"
CARD = "card.json"
WEIGHTS = "weights.safetensors"
ARCHITECTURE = "architecture.yaml"

REQUIRED = (MODEL, SIGNATURE, GOLDEN, PREPROCESS, LABELS, CARD)
OPTIONAL = (WEIGHTS, ARCHITECTURE, MODEL_DATA)


@dataclass(frozen=True, kw_only=True)
class PackageFile:
    """A file of a package, kept as a blob."""

    path: str
    """Relative, one of REQUIRED or OPTIONAL."""
    digest: str
    """`sha256:<hex>` of its bytes."""
    size: int
    """Bytes."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        check_digest(self.digest, "digest")
        check_paths([self.path])


def package_digest(files: Iterable[PackageFile] | Mapping[str, str]) -> str:
    """Return the package's digest: of the JSON of its sorted {path: digest} map."""
    named = dict(files) if isinstance(files, Mapping) else {file.path: file.digest for file in files}
    return digest_json(named)


def check_paths(paths: Iterable[str]) -> None:
    """Refuse files that are no part of a package; pickles above all."""
    strange = sorted(set(paths) - set(REQUIRED) - set(OPTIONAL))
    if strange:
        raise InvalidError(
            f"a model package has no file {', '.join(map(repr, strange))}; its files are "
            f"{', '.join(REQUIRED + OPTIONAL)}",
            field="files",
        )


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return the required files that are not among `paths`."""
    present = set(paths)
    return [path for path in REQUIRED if path not in present]
