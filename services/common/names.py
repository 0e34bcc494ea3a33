"""Names that users give: projects, datasets, models, deployments, aliases."""

import difflib
import re
from collections.abc import Iterable

from services.common.errors import InvalidError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(text: str, field: str) -> str:
    """Return `text` if it may name a thing: it becomes part of paths, addresses and pages."""
    if not NAME.fullmatch(text):
        raise InvalidError(
            f"{field} {text!r} is not a valid name: use 1 to 128 letters, digits, '.', '_' or '-', "
            "and begin with a letter or digit",
            field=field,
        )
    return text


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the valid name closest to `word`, or nothing."""
    found = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.6)
    return f"; did you mean '{found[0]}'?" if found else ""
