"""Model packages: folders of files that say all of a model; no pickle, and no ONNX needed to read them."""

from services.common.packages.card import FIGURES, Card, Interval, Latency, Metric, Verdict
from services.common.packages.datatypes import DTYPES, datatype_of, from_bf16, numpy_dtype, to_bf16
from services.common.packages.files import PackageFile, package_digest
from services.common.packages.golden import Golden
from services.common.packages.package import (
    Package,
    decode_json,
    encode_json,
    read_card,
    read_labels,
    read_package,
    read_signature,
)
from services.common.packages.signature import Signature, TensorSpec, Tolerance
from services.common.packages.tensor_bytes import from_raw, to_raw
from services.common.packages.writing import download_package, upload_package, write_package

__all__ = [
    "DTYPES",
    "FIGURES",
    "Card",
    "Golden",
    "Interval",
    "Latency",
    "Metric",
    "Package",
    "PackageFile",
    "Signature",
    "TensorSpec",
    "Tolerance",
    "Verdict",
    "datatype_of",
    "decode_json",
    "download_package",
    "encode_json",
    "from_bf16",
    "from_raw",
    "numpy_dtype",
    "package_digest",
    "read_card",
    "read_labels",
    "read_package",
    "read_signature",
    "to_bf16",
    "to_raw",
    "upload_package",
    "write_package",
]
