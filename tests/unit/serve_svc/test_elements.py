"""Tensors as bytes and as JSON."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from services.common.errors import InvalidError, ModelwrightError
from services.serve_svc.engine.datatypes import DATATYPES
from services.serve_svc.engine.elements import check_shape, from_bf16, from_list, from_raw, to_bf16, to_list, to_raw
from services.serve_svc.inference.rest.codec import HEADER_LENGTH, decode
from services.serve_svc.inference.rest.messages import HttpRequest

FIXED = [name for name, kind in DATATYPES.items() if kind.size]


@given(st.data(), st.sampled_from(FIXED))
def test_every_fixed_type_survives_its_bytes_and_its_list(data: st.DataObject, name: str) -> None:
    kind = DATATYPES[name]
    elements: dict[str, Any] = {"allow_nan": False, "allow_infinity": False} if kind.dtype.kind == "f" else {}
    if name == "BF16":
        elements = {"max_value": 0x7F7F}  # the positive finite ones
    array = data.draw(arrays.arrays(kind.dtype, arrays.array_shapes(max_dims=3, max_side=4), elements=elements))
    assert np.array_equal(from_raw(to_raw(array, kind), kind, array.shape, "t"), array)
    text = orjson.dumps(to_list(array, kind, "t"), option=orjson.OPT_SERIALIZE_NUMPY)
    assert np.array_equal(from_list(orjson.loads(text), kind, list(array.shape), "t"), array)


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_byte_strings_survive(elements: list[bytes]) -> None:
    kind = DATATYPES["BYTES"]
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    raw = to_raw(array, kind)
    assert list(from_raw(raw, kind, [len(elements)], "t")) == elements
    if raw:
        with pytest.raises(InvalidError):
            from_raw(raw[:-1], kind, [len(elements)], "t")


@given(arrays.arrays(np.float32, 8, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_bf16_rounds_to_the_nearest(array: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        error = np.abs(from_bf16(to_bf16(array)).astype(np.float64) - array)
    tiny = np.abs(array).astype(np.float64) * 2.0**-8 + 1e-38
    assert (~np.isfinite(error) | (error <= tiny)).all()
    assert np.isnan(from_bf16(to_bf16(np.array([np.nan], np.float32)))).all()


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("INT8", [200], "INT8 holds -128 to 127"),
        ("UINT8", [-1], "UINT8 holds 0 to 255"),
        ("UINT64", [0, 2**64], "UINT64 holds"),
        ("INT32", [1.5], "fractions"),
        ("BOOL", [1], "integers"),
        ("FP32", [True], "booleans"),
        ("FP32", [None], "not FP32"),
        ("FP32", [1.0, 2.0], "takes 1"),
        ("BYTES", [1], "strings in JSON"),
    ],
)
def test_json_elements_of_another_type_are_refused(name: str, data: list[object], text: str) -> None:
    shape = [2] if name == "UINT64" else [1]
    with pytest.raises(InvalidError, match=text):
        from_list(data, DATATYPES[name], shape, "input 'x'")


def test_an_unaligned_tensor_is_made_whole() -> None:
    data = memoryview(b"\0" * 33)[1:]
    assert from_raw(data, DATATYPES["FP64"], [4], "t").flags.aligned


@given(st.one_of(st.none(), st.integers(), st.lists(st.one_of(st.integers(), st.floats(), st.booleans()), max_size=40)))
def test_any_shape_is_taken_or_refused_clearly(shape: object) -> None:
    try:
        found = check_shape(shape, "t")
    except InvalidError:
        return
    np.empty([min(size, 1) for size in found])


@given(
    st.binary(max_size=200), st.one_of(st.none(), st.binary(max_size=6), st.integers(-5, 300).map(lambda n: b"%d" % n))
)
def test_no_body_breaks_the_parser(body: bytes, length: bytes | None) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}
    try:
        decode(HttpRequest(method="POST", target=b"/", headers=headers, body=body), body)
    except ModelwrightError:
        pass


KEYS = ["inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "id", "timeout"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["FP32", "BYTES", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "datatype", "shape", "data", "parameters", "id", "timeout"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_no_json_breaks_the_parser(inputs: object, other: object) -> None:
    entry = {"name": "x", "datatype": "FP32", "shape": [1], "data": inputs}
    for head in ({"inputs": inputs, "outputs": other}, {"inputs": [entry, inputs], "parameters": other}, other):
        body = orjson.dumps(head)
        try:
            decode(HttpRequest(method="POST", target=b"/", body=body), body)
        except ModelwrightError:
            pass
