"""PNG (RFC 2083): check sums and completeness of every file, and full checks of small plain ones.

Sets of small pictures are mostly PNG; opening each with an image library takes ten times what its bytes need.
"""

import zlib

MARK = b"\x89PNG\r\n\x1a\n"
FRAME_BYTES = 12
"""Length, type and check sum of a chunk."""
HEADER_BYTES = 13
MAX_PLAIN_BYTES = 1 << 20
"""Larger pictures are left to the image library, which does not need them in one piece."""
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels by color type; palettes (3) are left to the image library."""
MAX_FILTER = 4
PLAIN_TAIL = b"\x08%c\x00\x00\x00"
"""Eight bits, color type, and the only compression and filter there are, not interlaced."""

Chunk = tuple[bytes, int, int]


class UnreadableError(Exception):
    """The bytes are no readable picture; the message says why, in words that follow the file's name."""


def read_chunks(data: bytes) -> list[Chunk]:
    """Return type, start and end of each chunk's contents.

    Raises:
        UnreadableError: a check sum is wrong, or the file ends before its last chunk.
    """
    chunks, at, end = [], len(MARK), len(data)
    while at + FRAME_BYTES <= end:
        start = at + 8
        stop = start + int.from_bytes(data[at : at + 4])
        if stop + 4 > end:
            break
        if zlib.crc32(data[at + 4 : stop]) != int.from_bytes(data[stop : stop + 4]):
            raise UnreadableError("is damaged: a check sum is wrong")
        kind = data[at + 4 : start]
        chunks.append((kind, start, stop))
        if kind == b"IEND":
            return chunks
        at = stop + 4
    raise UnreadableError("is truncated: the picture ends before its last chunk")


def plain_shape(data: bytes, chunks: list[Chunk]) -> tuple[int, int, int] | None:
    """Return height, width and channels of a small plain picture that is sound; None: let the library judge.

    Plain is a header, pixel data and an end, eight bits a channel, no palette, not interlaced. Such a picture
    is sound if its data unpacks to exactly the bytes that the header promises and every row names a known filter.
    """
    kinds = [kind for kind, _, _ in chunks]
    if kinds != [b"IHDR", *[b"IDAT"] * (len(kinds) - 2), b"IEND"] or chunks[0][2] - chunks[0][1] != HEADER_BYTES:
        return None
    header = data[chunks[0][1] : chunks[0][2]]
    width, height, channels = int.from_bytes(header[:4]), int.from_bytes(header[4:8]), CHANNELS.get(header[9])
    row = 1 + width * (channels or 0)
    if not channels or header[8:] != PLAIN_TAIL % header[9] or not 0 < width * height * channels <= MAX_PLAIN_BYTES:
        return None
    unpacker = zlib.decompressobj()
    try:
        pixels = unpacker.decompress(b"".join(data[start:stop] for _, start, stop in chunks[1:-1]), row * height + 1)
    except zlib.error:
        return None
    if len(pixels) != row * height or not unpacker.eof or max(pixels[::row]) > MAX_FILTER:
        return None
    return height, width, channels
