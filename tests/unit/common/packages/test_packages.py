"""Model packages, written, read, moved and refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from services.common.errors import ConflictError, InvalidError, NotFoundError
from services.common.packages import (
    Card,
    Golden,
    Interval,
    Latency,
    Metric,
    Package,
    PackageFile,
    Signature,
    TensorSpec,
    datatype_of,
    download_package,
    from_bf16,
    from_raw,
    numpy_dtype,
    package_digest,
    read_package,
    to_bf16,
    to_raw,
    upload_package,
    write_package,
)
from services.common.storage import BlobCache, BlobStore, FolderStorage

SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 1, 8, 8)),),
    outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 10)),),
)
GOLDEN = Golden(
    inputs={"input": np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)},
    outputs={"output": np.linspace(-3, 3, 20, dtype=np.float32).reshape(2, 10)},
)
PREPROCESS = [{"decode_image": {"mode": "L", "height": 8, "width": 8}}, {"normalize": {"mean": [0.5]}}]
CARD = Card(
    name="digits",
    variant="trained",
    run="run_1",
    metrics={"accuracy": Metric(value=0.99, ci_low=0.98, ci_high=1.0, samples=270, split="test")},
    latency=(Latency(device="cpu", threads=1, batch=1, p50_ms=2.0, p99_ms=4.0, runs=300),),
)


def safetensors(values: bytes = b"\0" * 8) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + values


def write(folder: Path) -> Package:
    return write_package(
        folder,
        model=b"onnx bytes",
        signature=SIGNATURE,
        golden=GOLDEN,
        preprocess=PREPROCESS,
        labels=[str(n) for n in range(10)],
        card=CARD,
        weights=safetensors(),
        architecture={"template": "resnet_small"},
    )


def test_a_large_models_tensors_come_with_it(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(b"tensors")
    package = write_package(
        tmp_path / "package",
        model=tmp_path / "model.onnx",
        signature=SIGNATURE,
        golden=GOLDEN,
        preprocess=PREPROCESS,
        labels=[str(n) for n in range(10)],
        card=CARD,
    )
    assert (package.folder / "model.onnx.data").read_bytes() == b"tensors"
    assert package.card.size_bytes == len(b"graph") + len(b"tensors")


def test_a_package_is_read_as_it_was_written(tmp_path: Path) -> None:
    package = write(tmp_path / "package")
    assert package.signature == SIGNATURE
    assert package.card.size_bytes == len(b"onnx bytes")
    assert package.card.metrics["accuracy"].value == 0.99
    assert package.labels[9] == "9"
    assert package.preprocess.spec == PREPROCESS
    assert package.weights
    assert package.architecture
    np.testing.assert_array_equal(package.golden.outputs["output"], GOLDEN.outputs["output"])
    with pytest.raises(ConflictError, match="not empty"):
        write(tmp_path / "package")


def test_an_invalid_package_is_not_written(tmp_path: Path) -> None:
    wrong = Golden(inputs={"inputs": GOLDEN.inputs["input"]}, outputs=GOLDEN.outputs)
    with pytest.raises(InvalidError, match="'input' is missing"):
        write_package(
            tmp_path / "package",
            model=b"x",
            signature=SIGNATURE,
            golden=wrong,
            preprocess=PREPROCESS,
            labels=[],
            card=CARD,
        )
    assert list(tmp_path.iterdir()) == []


def test_all_faults_of_a_package_are_told_together(tmp_path: Path) -> None:
    folder = write(tmp_path / "package").folder
    (folder / "model.onnx").write_bytes(b"longer than before")
    (folder / "labels.json").write_text('{"0": "a"}')
    (folder / "preprocess.yaml").write_text("- decode_imag: {}")
    (folder / "weights.safetensors").write_bytes(safetensors()[:-3])
    (folder / "weights.pkl").write_bytes(b"")
    (folder / "golden.npz").unlink()
    (folder / "signature.json").write_text(
        '{"inputs": [{"name": "a", "datatype": "FLOAT32", "shape": []}], "outputs": []}'
    )
    with pytest.raises(InvalidError) as caught:
        read_package(folder)
    assert {violation.field for violation in caught.value.violations} == {
        "files",
        "golden.npz",
        "labels.json",
        "model.onnx",
        "preprocess.yaml",
        "signature.json",
        "weights.safetensors",
    }
    for told in ("weights.pkl", "did you mean 'decode_image'", "card.json says size_bytes 10", "truncated", "missing"):
        assert told in caught.value.message


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_package(tmp_path / "none")


def test_a_pickled_golden_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidError, match="no npz of plain arrays"):
        Golden.load(tmp_path / "golden.npz")
    (tmp_path / "golden.npz").write_bytes(b"\x80\x04}.")
    with pytest.raises(InvalidError, match="no npz of plain arrays"):
        Golden.load(tmp_path / "golden.npz")


def test_golden_text_survives(tmp_path: Path) -> None:
    text = np.array([[b"a", b"bc\0"], [b"", "ü".encode()]], dtype=object)
    Golden(inputs={"text": text}, outputs={}).save(tmp_path / "golden.npz")
    assert Golden.load(tmp_path / "golden.npz").inputs["text"].tolist() == text.tolist()


def test_replayed_outputs_out_of_tolerance_are_named() -> None:
    wanted = GOLDEN.outputs["output"]
    assert GOLDEN.differences({"output": wanted + np.float32(5e-5)}, SIGNATURE) == []
    assert "differs by up to 0.5" in GOLDEN.differences({"output": wanted + np.float32(0.5)}, SIGNATURE)[0]
    assert "another shape" in GOLDEN.differences({"output": wanted[:1]}, SIGNATURE)[0]


def test_a_package_travels_through_the_blob_store(tmp_path: Path) -> None:
    package = write(tmp_path / "package")
    blobs = BlobStore(FolderStorage(tmp_path / "storage"))
    files = upload_package(package.folder, blobs)
    assert upload_package(package.folder, blobs) == files
    cache = BlobCache(tmp_path / "cache", blobs, 1 << 20)
    sources: list[BlobStore | BlobCache] = [blobs, cache, cache]
    for number, source in enumerate(sources):
        folder = download_package(files, tmp_path / f"copy{number}", source)
        assert read_package(folder).card == package.card
        assert download_package(files, folder, source) == folder
    assert package_digest(files) == package_digest({file.path: file.digest for file in reversed(files)})


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    blobs = BlobStore(FolderStorage(tmp_path / "storage"))
    files = upload_package(write(tmp_path / "package").folder, blobs)
    blobs.delete(files[-1].digest)
    with pytest.raises(NotFoundError):
        download_package(files, tmp_path / "copy", blobs)
    with pytest.raises(InvalidError, match=r"lacks model\.onnx"):
        download_package([file for file in files if file.path != "model.onnx"], tmp_path / "copy", blobs)
    assert {path.name for path in tmp_path.iterdir()} == {"package", "storage"}


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "weights.pkl", "a/model.onnx"])
def test_a_file_that_is_no_part_of_a_package_is_refused(path: str) -> None:
    with pytest.raises(InvalidError, match="has no file"):
        PackageFile(path=path, digest="sha256:" + "0" * 64, size=1)


def test_figures_are_flat_and_measured_against_the_parent() -> None:
    own = {"accuracy": 0.99, "size_bytes": 0.0, "p50_ms": 2.0, "p99_ms": 4.0}
    assert CARD.figures() == own | {"size_ratio": 1.0, "speedup": 1.0, "accuracy_drop": 0.0}
    child = Card(
        name="digits",
        variant="int8",
        parent="sha256:" + "0" * 64,
        size_bytes=250,
        latency=(Latency(device="cpu", threads=1, batch=1, p50_ms=1.0, p99_ms=1.5, runs=300),),
        accuracy_drop=Interval(value=0.004, ci_low=0.0, ci_high=0.01),
    )
    parent = Card(name="digits", variant="trained", size_bytes=1000, latency=CARD.latency)
    figures = child.figures(parent)
    assert figures["size_ratio"] == 0.25
    assert figures["speedup"] == 2.0
    assert figures["accuracy_drop"] == 0.004
    assert "speedup" not in child.figures()


def test_wrong_tensors_are_named_with_what_was_wanted() -> None:
    with pytest.raises(InvalidError) as caught:
        SIGNATURE.check_inputs({"input": np.zeros((1, 1, 8, 9), np.float32), "more": np.zeros(1)})
    assert "has shape [1, 1, 8, 9], not [-1, 1, 8, 8]" in caught.value.message
    assert "'more' is none of the inputs" in caught.value.message
    with pytest.raises(InvalidError, match="is float64, not FP32"):
        SIGNATURE.check_inputs({"input": np.zeros((1, 1, 8, 8))})


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT16", "INT32", "INT64", "UINT64", "FP16", "FP32", "FP64"])
def test_raw_bytes_return_as_the_same_array(datatype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(numpy_dtype(datatype))
    assert datatype_of(array.dtype) == datatype
    np.testing.assert_array_equal(from_raw(to_raw(array, datatype), datatype, (2, 3)), array)
    with pytest.raises(InvalidError, match="bytes, 1 were given"):
        from_raw(b"1", datatype, (2, 3))


def test_bytes_elements_carry_their_length() -> None:
    array = np.array([b"one", b""], dtype=object)
    raw = to_raw(array, "BYTES")
    assert raw == b"\x03\0\0\0one\0\0\0\0"
    assert from_raw(raw, "BYTES", (2,)).tolist() == [b"one", b""]
    for broken in (raw[:-1], raw + b"\0", raw[:7]):
        with pytest.raises(InvalidError, match="each a length"):
            from_raw(broken, "BYTES", (2,))


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    values = np.array([1.0, -2.5, 1.00390625, 1.01171875, 3.4e38, np.inf, np.nan], np.float32)
    found = from_bf16(to_bf16(values))
    np.testing.assert_array_equal(found[:4], np.array([1.0, -2.5, 1.0, 1.015625], np.float32))
    assert np.isinf(found[5])
    assert np.isnan(found[6])


def test_an_unknown_datatype_names_the_nearest() -> None:
    with pytest.raises(InvalidError, match="did you mean 'FP32'"):
        numpy_dtype("fp32")
    with pytest.raises(InvalidError, match="has no tensor type"):
        datatype_of(np.dtype(np.complex64))
