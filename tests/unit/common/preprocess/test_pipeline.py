"""Raw bytes to a model's input."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess, known_steps

DIGITS = [{"decode_image": {"mode": "L", "height": 8, "width": 8}}, {"normalize": {"mean": [0.5], "std": [0.25]}}]


def png(size: tuple[int, int] = (8, 8), mode: str = "L", value: int = 255, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, value // 2)).save(buffer, form)
    return buffer.getvalue()


def test_a_batch_of_pictures_is_nchw_float32() -> None:
    batch = Preprocess(DIGITS).batch([png(), png(value=0)])
    assert batch.dtype == np.float32
    assert batch.shape == (2, 1, 8, 8)
    np.testing.assert_allclose(batch[0], 2.0, rtol=1e-6)
    np.testing.assert_allclose(batch[1], -2.0, rtol=1e-6)


def test_each_channel_has_its_own_mean() -> None:
    steps = [{"decode_image": {"height": 2, "width": 3}}, {"normalize": {"mean": [0, 1, 0.5], "std": [1, 1, 2]}}]
    found = Preprocess(steps).one(png((3, 2), "RGB"))
    assert found.shape == (3, 2, 3)
    np.testing.assert_allclose(found[:, 0, 0], [1.0, -1.0, (127 / 255 - 0.5) / 2], atol=1e-6)


def test_a_batch_equals_its_samples_one_by_one_and_decode_then_finish() -> None:
    steps = Preprocess([{"decode_image": {"height": 5, "width": 4}}, {"normalize": {"mean": [0.1, 0.2, 0.3]}}])
    raws = [png((7 + n, 9), "RGB", 40 * n, "JPEG") for n in range(5)]
    batch = steps.batch(raws)
    np.testing.assert_array_equal(batch, np.stack([steps.one(raw) for raw in raws]))
    np.testing.assert_array_equal(batch, steps.finish(np.stack([steps.decode(raw) for raw in raws])))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_common_formats_are_decoded(form: str) -> None:
    assert Preprocess(DIGITS).batch([png((16, 16), form=form)]).shape == (1, 1, 8, 8)


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(buffer, "PNG")
    assert set(Preprocess(DIGITS).decode(buffer.getvalue()).ravel().tolist()) == {128}


def test_a_turned_photo_is_set_upright() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # Rotated by 180 degrees.
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    found = Preprocess([{"decode_image": {"mode": "L", "height": 1, "width": 2}}]).decode(buffer.getvalue())
    assert found.ravel().tolist() == [255, 0]


def test_every_bad_sample_is_named_at_once() -> None:
    whole = png((64, 64), "RGB")
    with pytest.raises(InvalidError) as caught:
        Preprocess(DIGITS).batch([whole, whole[:-40], b"no picture", b""], ["a.png", "b.png", "c.png", "d.png"])
    assert [violation.field for violation in caught.value.violations] == ["b.png", "c.png", "d.png"]
    assert "b.png: the picture is damaged or cut short" in caught.value.message
    assert "c.png: not a picture" in caught.value.message


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_picture_cut_anywhere_is_invalid_or_whole_never_another_error(form: str) -> None:
    whole, steps = png((31, 17), "RGB", 99, form), Preprocess(DIGITS)
    for length in range(0, len(whole), max(1, len(whole) // 200)):
        try:
            steps.one(whole[:length], "cut.img")
        except InvalidError as error:
            assert "cut.img" in error.message  # noqa: PT017 - a cut trailer may leave a whole picture


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidError, match=r"bomb\.png: the picture has 9000 x 9000 pixels"):
        Preprocess(DIGITS).one(_bomb(9_000), "bomb.png")
    with pytest.raises(InvalidError, match=r"bomb\.png: the picture is too large"):
        Preprocess(DIGITS).one(_bomb(60_000), "bomb.png")


def _bomb(side: int) -> bytes:
    """A PNG of which the header alone is there: 25 bytes that promise `side` squared pixels."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, body)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_threads_share_one_pipeline() -> None:
    steps, raw = Preprocess(DIGITS), png((32, 32))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: steps.one(raw), range(64)))
    assert all(np.array_equal(found[0], other) for other in found)


def test_raw_tensors_pass_as_float32() -> None:
    steps = Preprocess([{"none": {"shape": [2, 3]}}])
    values = np.arange(6, dtype=np.float32)
    assert steps.batch([values.tobytes(), values.reshape(2, 3)]).shape == (2, 2, 3)
    with pytest.raises(InvalidError, match="5 values do not make shape"):
        steps.one(values[:5].tobytes())
    with pytest.raises(InvalidError, match="no whole number"):
        steps.one(b"123")
    assert Preprocess([]).one(values).dtype == np.float32


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([{"decode_imag": {}}], "did you mean 'decode_image'"),
        ([{"decode_image": {"height": 8, "with": 8}}], "did you mean 'width'"),
        ([{"decode_image": {"height": 8}}], "missing required field `width`"),
        ([{"decode_image": {"height": "8", "width": 8}}], "Expected `int`, got `str`"),
        ([{"decode_image": {"height": 0, "width": 8}}], "is not positive"),
        ([{"decode_image": {"height": 8, "width": 8, "mode": "CMYK"}}], "CMYK"),
        ([{"normalize": {"std": [0.0]}}], "above 0"),
        ([{"normalize": {"mean": [1, 2], "std": [1, 2, 3]}}], "one a channel"),
        ([{"normalize": {}, "none": {}}], "one name with its options"),
        (["none", 3], r"preprocess\[1\]"),
        ({"normalize": {}}, "must be a list"),
        ([{"none": {"shape": [0]}}], "positive"),
    ],
)
def test_a_wrong_step_is_told_by_its_place(spec: list[object], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        Preprocess(spec)


def test_a_wrong_number_of_channels_names_the_batch() -> None:
    steps = Preprocess([{"decode_image": {"mode": "L", "height": 8, "width": 8}}, {"normalize": {"mean": [0, 0, 0]}}])
    with pytest.raises(InvalidError, match="3 channels, the value has shape"):
        steps.batch([png()])


def test_yaml_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.yaml"
    path.write_text("- decode_image: {mode: L, height: 8, width: 8}\n- normalize: {mean: [0.5], std: [0.25]}\n")
    steps = Preprocess.load(path)
    assert steps.spec == DIGITS
    assert steps.shape == (1, 8, 8)
    assert Preprocess.parse(steps.dump()).spec == DIGITS
    with pytest.raises(InvalidError, match="no YAML"):
        Preprocess.parse("- [")


def test_steps_are_found_by_their_files() -> None:
    assert set(known_steps()) >= {"decode_image", "normalize", "none"}
