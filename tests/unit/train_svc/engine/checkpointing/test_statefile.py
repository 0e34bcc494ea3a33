import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors import numpy as safetensors_numpy
from safetensors import torch as safetensors_torch

from services.common.errors import InvalidError
from services.train_svc.engine.checkpointing.dtypes import BITS, Array, bits_of, format_of, name_bits
from services.train_svc.engine.checkpointing.statefile import PIECE_BYTES, read_state, state_bytes, write_state


def same(found: dict[str, Array], wanted: dict[str, Array]) -> bool:
    assert sorted(found) == sorted(wanted)
    return all(
        found[name].dtype == array.dtype
        and found[name].shape == array.shape
        and found[name].tobytes() == array.tobytes()
        for name, array in wanted.items()
    )


def test_arrays_come_back_as_they_were_with_the_digest_of_the_files_bytes(
    tmp_path: Path, state: dict[str, Array]
) -> None:
    digest = write_state(tmp_path / "s", state)
    found, read_digest = read_state(tmp_path / "s")
    assert same(found, state)
    data = (tmp_path / "s").read_bytes()
    assert digest == read_digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert len(data) == state_bytes(state)


def test_the_safetensors_library_reads_what_we_write_and_we_what_it_writes(
    tmp_path: Path, state: dict[str, Array]
) -> None:
    write_state(tmp_path / "ours", state)
    assert same(safetensors_numpy.load_file(tmp_path / "ours"), state)
    safetensors_numpy.save_file(state, tmp_path / "theirs")
    assert same(read_state(tmp_path / "theirs")[0], state)


@pytest.mark.parametrize("shape", [(PIECE_BYTES // 4 * 2 + 3,), (PIECE_BYTES // 4,), (1,)], ids=str)
def test_no_byte_is_lost_where_pieces_meet(tmp_path: Path, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    state = {f"{index}": random.random(shape, dtype=np.float32) for index in range(3)}
    state |= {f"small/{index}": random.random(index, dtype=np.float32) for index in range(300)}
    write_state(tmp_path / "s", state)
    assert same(read_state(tmp_path / "s")[0], state)
    assert same(safetensors_numpy.load_file(tmp_path / "s"), state)


def test_an_array_in_another_order_of_memory_is_written_by_its_values(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    write_state(tmp_path / "s", {"turned": array.transpose(2, 0, 1), "every_other": array[:, ::2]})
    found, _ = read_state(tmp_path / "s")
    assert np.array_equal(found["turned"], array.transpose(2, 0, 1))
    assert np.array_equal(found["every_other"], array[:, ::2])


@pytest.mark.parametrize("name", BITS.values())
def test_bits_that_numpy_has_no_numbers_for_come_from_torch_and_go_back_to_it(tmp_path: Path, name: str) -> None:
    kind: torch.dtype = getattr(torch, name)
    tensor = torch.tensor([[1.0, 0.5, 2.0], [4.0, 0.25, 8.0]]).to(kind)
    unsigned = torch.uint16 if name == "bfloat16" else torch.uint8
    write_state(tmp_path / "s", {"x": name_bits(tensor.view(unsigned).numpy(), name)})
    found = read_state(tmp_path / "s")[0]["x"]
    assert (format_of(found), found.shape) == (name, (2, 3))
    back = torch.from_numpy(bits_of(found)).view(kind)
    theirs = safetensors_torch.load_file(tmp_path / "s")["x"]
    assert theirs.dtype == kind
    assert torch.equal(back.float(), tensor.float())
    assert torch.equal(theirs.float(), tensor.float())


def test_bfloat16_of_ml_dtypes_comes_back_with_the_same_bits(tmp_path: Path) -> None:
    array = np.array([1.5, -2.0, 3e38], ml_dtypes.bfloat16)
    write_state(tmp_path / "s", {"x": array})
    found = read_state(tmp_path / "s")[0]["x"]
    assert np.array_equal(bits_of(found).view(ml_dtypes.bfloat16), array)


@pytest.mark.parametrize(
    "array", [np.array(["text"]), np.array([1.0], ">f4"), np.array([object()])], ids=["text", "swapped", "object"]
)
def test_a_format_that_no_file_can_hold_is_named_with_its_tensor(tmp_path: Path, array: Array) -> None:
    with pytest.raises(InvalidError, match=r"'odd' has format .*wanted one of bool, uint8"):
        write_state(tmp_path / "s", {"odd": array})


def framed(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(begin: int, end: int, shape: list[int]) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        (1 << 60).to_bytes(8, "little") + b"{}",
        framed([1, 2]),
        framed({"x": {"dtype": "F32"}}),
        framed({"x": {**entry(0, 4, [1]), "dtype": "F31"}}, bytes(4)),
        framed({"x": entry(0, 4, [2])}, bytes(4)),
        framed({"x": entry(0, 4, [-1])}, bytes(4)),
        framed({"x": entry(4, 8, [1])}, bytes(8)),
        framed({"x": entry(0, 4, [1])}, bytes(8)),
        framed({"x": entry(0, 4 << 50, [1 << 50])}, bytes(8)),
        framed({"x": entry(0, 8, [2]), "y": entry(4, 12, [2])}, bytes(12)),
        (2).to_bytes(8, "little") + b"\xff\xfe",
    ],
    ids=str,
)
def test_a_file_that_is_not_what_its_header_says_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(ValueError, match=r"ends too early|header|bytes of tensors|codec can't decode"):
        read_state(tmp_path / "s")
