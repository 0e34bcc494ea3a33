"""Pictures to arrays."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from services.common.errors import InvalidError
from services.common.preprocess.registry import step

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Only decoders that read plain pictures; no formats that run other programs."""
RESIZES = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)


@step("decode_image")
@dataclass(frozen=True, kw_only=True)
class DecodeImage:
    """Encoded picture (PNG, JPEG, ...) to UINT8 of shape (channels, height, width), 0 to 255."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    mode: Literal["L", "RGB"] = "RGB"
    """`L`: one grey channel; `RGB`: three."""
    resize: Literal["nearest", "bilinear", "bicubic", "lanczos", "area"] = "bilinear"
    """Filter for pictures of another size; the aspect is not kept."""
    max_pixels: int = 64_000_000
    """Larger pictures are refused before they are decoded."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if not 0 < self.height * self.width <= self.max_pixels or self.height < 0:
            raise InvalidError(
                f"size {self.height} x {self.width} is not positive, or over max_pixels {self.max_pixels}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a result."""
        return (3 if self.mode == "RGB" else 1, self.height, self.width)

    def __call__(self, value: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - the registry's signature
        """Decode one picture, turned as its EXIF says. Raises InvalidError if it is no picture, cut or a bomb."""
        try:
            # Opening reads the header alone; loading decodes.
            with Image.open(io.BytesIO(value), formats=FORMATS) as image:
                self._check_size(image)
                return self._array(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InvalidError(f"the picture is too large: {error}") from error
        except UnidentifiedImageError as error:
            raise InvalidError(f"not a picture of a known form ({', '.join(FORMATS)})") from error
        except _DAMAGED as error:
            raise InvalidError(f"the picture is damaged or cut short: {error}") from error

    def _check_size(self, image: Image.Image) -> None:
        if image.width * image.height > self.max_pixels:
            raise InvalidError(
                f"the picture has {image.width} x {image.height} pixels, over the limit of {self.max_pixels}"
            )

    def _array(self, image: Image.Image) -> NDArray[np.uint8]:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # Pillow clips 16-bit grey to 255 where it should scale.
            upright = Image.fromarray((np.asarray(upright, np.int64) // 257).clip(0, 255).astype(np.uint8))
        converted = upright.convert(self.mode)
        if converted.size != (self.width, self.height):
            converted = converted.resize((self.width, self.height), RESIZES[self.resize])
        array = np.asarray(converted)
        return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))  # noqa: PLR2004 - grey
