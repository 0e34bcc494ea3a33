"""Pictures: decoded in full, so that a cut or damaged one is noticed now and not in training."""

import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from services.data_svc.engine import png
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.png import UnreadableError

SUFFIXES = {"png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm"}
"""Files of these names must be readable pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a readable picture is."""

    media_type: str
    shape: tuple[int, int, int]
    """Height, width, channels."""


def inspect_picture(data: bytes, limits: ScanLimits) -> Picture:
    """Decode the first frame and return what the picture is.

    Raises:
        UnreadableError: it is empty, of no known format, cut, damaged or too large.
    """
    if not data:
        raise UnreadableError("is empty")
    if data.startswith(png.MARK):
        # Pillow reads past wrong check sums of pixel data and past a missing end.
        chunks = png.read_chunks(data)
        if shape := png.plain_shape(data, chunks):
            return Picture("image/png", _bounded(shape, limits))
    try:
        return _decode(data, limits)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("is not a picture of a known format, or its first bytes are damaged") from None
    except Exception as error:  # Decoders of some thirty formats fail with whatever they stumble over.
        raise UnreadableError(f"cannot be decoded: {error}") from error


def _decode(data: bytes, limits: ScanLimits) -> Picture:
    with Image.open(io.BytesIO(data)) as picture:
        width, height = picture.size
        shape = _bounded((height, width, 3 if picture.mode == "P" else len(picture.getbands())), limits)
        media_type = Image.MIME.get(picture.format or "", "application/octet-stream")
        if picture.format == "JPEG":
            # An eighth of the size reads every coded byte but leaves out most of the arithmetic.
            picture.draft(picture.mode, (max(1, width // 8), max(1, height // 8)))
        picture.load()
        return Picture(media_type, shape)


def _bounded(shape: tuple[int, int, int], limits: ScanLimits) -> tuple[int, int, int]:
    height, width, _ = shape
    if width * height > limits.max_pixels:
        raise UnreadableError(f"has {width} x {height} pixels; the limit is {limits.max_pixels}")
    return shape
