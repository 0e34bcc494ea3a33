"""Pictures: decoded in full, so that a cut or damaged one is noticed now and not in training."""

import io
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from services.data_svc.engine.limits import ScanLimits

SUFFIXES = {"png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm"}
"""Files of these names must be readable pictures."""

PNG_MARK = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_BYTES = 12
"""Length, type and check sum of a PNG chunk."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a readable picture is."""

    media_type: str
    shape: tuple[int, int, int]
    """Height, width, channels."""


class UnreadableError(Exception):
    """The bytes are no readable picture; the message says why, in words that follow the file's name."""


def inspect_picture(data: bytes, limits: ScanLimits) -> Picture:
    """Decode the first frame and return what the picture is.

    Raises:
        UnreadableError: it is empty, of no known format, cut, damaged or too large.
    """
    if not data:
        raise UnreadableError("is empty")
    if data.startswith(PNG_MARK):
        _check_png(data)
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
        if width * height > limits.max_pixels:
            raise UnreadableError(f"has {width} x {height} pixels; the limit is {limits.max_pixels}")
        bands = 3 if picture.mode == "P" else len(picture.getbands())
        media_type = Image.MIME.get(picture.format or "", "application/octet-stream")
        if picture.format == "JPEG":
            # An eighth of the size reads every coded byte but leaves out most of the arithmetic.
            picture.draft(picture.mode, (max(1, width // 8), max(1, height // 8)))
        picture.load()
        return Picture(media_type, (height, width, bands))


def _check_png(data: bytes) -> None:
    # Pillow reads past check sums of pixel data and past a missing end.
    at, end = len(PNG_MARK), len(data)
    while at + PNG_CHUNK_BYTES <= end:
        length = int.from_bytes(data[at : at + 4])
        stop = at + 8 + length
        if stop + 4 > end:
            break
        if zlib.crc32(data[at + 4 : stop]) != int.from_bytes(data[stop : stop + 4]):
            raise UnreadableError("is damaged: a check sum is wrong")
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = stop + 4
    raise UnreadableError("is truncated: the picture ends before its last chunk")
