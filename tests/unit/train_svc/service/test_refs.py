"""References to model versions."""

import pytest

from services.common.errors import InvalidError
from services.train_svc.service.refs import Ref, parse_ref

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("digits", Ref(name="digits")),
        ("models:/digits", Ref(name="digits")),
        ("models:/digits@champion", Ref(name="digits", alias="champion")),
        ("digits/12", Ref(name="digits", number=12)),
        ("digits/latest", Ref(name="digits")),
        (DIGEST, Ref(digest=DIGEST)),
        (f"models:/{DIGEST}", Ref(digest=DIGEST)),
    ],
)
def test_a_reference_has_one_of_a_few_forms(text: str, wanted: Ref) -> None:
    assert parse_ref(text) == wanted


@pytest.mark.parametrize("text", ["", "models:/", "a/b", "a@b@c", "a/1@b", "sha256:12", "a\n", "a@", "../a"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        parse_ref(text)
