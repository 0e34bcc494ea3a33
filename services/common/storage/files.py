"""Local files that appear whole or not at all."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.common.errors import StorageFullError


@contextmanager
def written_aside(target: Path) -> Iterator[BinaryIO]:
    """Give a file beside `target` that is synced and takes its name at the end, or goes if the block fails.

    Raises:
        StorageFullError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFullError(f"no space left for {target}; free space, then try again") from error
        raise
    finally:
        aside.unlink(missing_ok=True)
