"""Writes scikit-learn's 1,797 handwritten digits as PNG files in ImageNet's layout: SPLIT/CLASS/NUMBER.png.

    python examples/02-image-classification/prepare.py [FOLDER]

Of every 20 digits of a class 14 go to `train`, 3 to `val` and 3 to `test`. The same files come out every time; files
that are right already are left alone.
Source: UCI ML hand-written digits, Alpaydin and Kaynak (1998), 8x8 pixels, 17 shades.
"""

import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SHADES = 16
"""Brightest value of the original; PNG's is 255."""
SPLITS = ("train",) * 14 + ("val",) * 3 + ("test",) * 3
"""Of each 20 of a class."""


def encode(pixels: np.ndarray) -> bytes:
    """Return an 8x8 picture as a grey PNG with no times or other extras in it."""
    picture = Image.fromarray(np.rint(pixels * (255 / SHADES)).astype(np.uint8), mode="L")
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=False, compress_level=9)
    return file.getvalue()


def prepare(folder: Path) -> int:
    """Write every digit to `folder`/SPLIT/CLASS/NUMBER.png and return how many files were written anew."""
    digits = load_digits()
    seen, written = Counter[int](), 0
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = SPLITS[seen[label] % len(SPLITS)]
        seen[label] += 1
        place = folder / split / str(label) / f"{number:04}.png"
        data = encode(pixels)
        if place.is_file() and place.read_bytes() == data:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        written += 1
    return written


def main() -> None:
    """Prepare the folder that train.yaml names, or the one given."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data" / "digits"
    print(f"{prepare(folder)} files written to {folder}")


if __name__ == "__main__":
    main()
