"""Text as it is compared: normalised, and cut into characters, words, or mixed tokens."""

import unicodedata
from functools import cache

HAN = ((0x3007, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
"""Code points of Han characters: the ideographic zero, the unified ideographs with extensions, compatibility ones."""
APOSTROPHES = "'’"


def normalized(text: str, *, lower: bool = True) -> str:
    """Return text in Unicode's NFKC (full-width forms become the usual ones), with single spaces, in lower case."""
    found = " ".join(unicodedata.normalize("NFKC", text).split())
    return found.lower() if lower else found


def is_han(character: str) -> bool:
    """Say whether a character is Han."""
    return any(first <= ord(character) <= last for first, last in HAN)


def characters(text: str) -> list[str]:
    """Return the characters of normalised text. A space beside a Han character is layout, and does not count."""
    last = len(text) - 1
    is_layout = (
        each == " " and 0 < place < last and (is_han(text[place - 1]) or is_han(text[place + 1]))
        for place, each in enumerate(text)
    )
    return [each for each, dropped in zip(text, is_layout, strict=True) if not dropped]


def words(text: str) -> list[str]:
    """Return what stands between spaces."""
    return text.split()


def mixed_tokens(text: str) -> list[str]:
    """Return the tokens of text in which languages mix: each Han character, and each word of other letters.

    A word is a run of letters, digits and apostrophes; punctuation and symbols are no tokens.
    """
    spaced = "".join(_spaced(character) for character in text)
    return [token for token in (piece.strip("'") for piece in spaced.split()) if token]


@cache
def _spaced(character: str) -> str:
    if is_han(character):
        return f" {character} "
    if character in APOSTROPHES:
        return "'"
    return character if unicodedata.category(character)[0] in "LNM" else " "
