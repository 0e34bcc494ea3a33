import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.data_svc.engine import png
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.pictures import inspect_picture
from services.data_svc.engine.png import UnreadableError


def encode(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


NOISE = Image.effect_noise((13, 7), 60)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_plain_pngs_are_judged_without_the_library(mode: str) -> None:
    data = encode(NOISE.convert(mode))
    assert png.plain_shape(data, png.read_chunks(data)) == (7, 13, len(mode))


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("P", 3), ("I;16", 1)])
def test_other_pngs_are_judged_by_the_library(mode: str, channels: int) -> None:
    data = encode(NOISE.convert(mode) if mode != "I;16" else Image.new(mode, (13, 7), 700))
    assert png.plain_shape(data, png.read_chunks(data)) is None
    assert inspect_picture(data, ScanLimits()).shape == (7, 13, channels)


@pytest.mark.parametrize(
    ("form", "media_type"), [("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("BMP", "image/bmp"), ("WEBP", "image/webp")]
)
def test_other_forms_are_read(form: str, media_type: str) -> None:
    found = inspect_picture(encode(NOISE.convert("RGB"), form), ScanLimits())
    assert (found.media_type, found.shape[:2]) == (media_type, (7, 13))


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_passes(at: int, bit: int) -> None:
    data = bytearray(encode(NOISE))
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(UnreadableError):
        inspect_picture(bytes(data), ScanLimits())


@given(length=st.integers(0, 10_000))
def test_no_cut_picture_passes(length: int) -> None:
    for form in ("PNG", "JPEG"):
        data = encode(NOISE, form)
        with pytest.raises(UnreadableError):
            inspect_picture(data[: length % len(data)], ScanLimits())


def test_what_the_quick_check_takes_the_library_reads() -> None:
    for mode in ("L", "LA", "RGB", "RGBA"):
        for level in (0, 1, 9):
            data = encode(NOISE.convert(mode), compress_level=level)
            assert png.plain_shape(data, png.read_chunks(data))
            Image.open(io.BytesIO(data)).load()


def test_a_picture_of_too_many_pixels_is_refused() -> None:
    for mode in ("L", "P"):
        with pytest.raises(UnreadableError, match="13 x 7 pixels"):
            inspect_picture(encode(NOISE.convert(mode)), ScanLimits(max_pixels=90))
