"""How callers name model versions: `models:/digits@champion`, `digits/3`, `digits`, `sha256:…`."""

import re
from dataclasses import dataclass

from services.common.digest import PATTERN
from services.common.errors import InvalidError
from services.common.names import check_name

FORM = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^@/]+)|/(?P<number>[0-9]{1,9}|latest))?")
EXAMPLES = "models:/digits@champion, digits/3, digits, or sha256:…"


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A parsed reference: a digest, or a name with an alias, a number, or neither for the latest."""

    digest: str = ""
    name: str = ""
    alias: str = ""
    number: int = 0


def parse_ref(text: str) -> Ref:
    """Return the parts of a reference.

    Raises:
        InvalidError: it has none of the known forms.
    """
    bare = text.removeprefix("models:/")
    if PATTERN.fullmatch(bare):
        return Ref(digest=bare)
    found = FORM.fullmatch(text)
    if not found or text.startswith("sha256:"):
        raise InvalidError(f"{text!r} names no model version; write {EXAMPLES}", field="ref")
    name, alias, number = check_name(found["name"], "ref"), found["alias"] or "", found["number"] or ""
    if alias:
        check_name(alias, "ref")
    return Ref(name=name, alias=alias, number=int(number) if number.isdigit() else 0)
