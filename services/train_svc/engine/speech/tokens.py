"""Text as characters: the labels of a model that writes what it hears."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.reading import fault

BLANK, UNKNOWN, SPACE = "<blank>", "<unk>", "<space>"
"""Written in the list of labels for CTC's blank, for characters that training did not have, and between words."""
BLANK_ID, UNKNOWN_ID = 0, 1


@dataclass(frozen=True)
class Vocabulary:
    """Characters by number: Han one by one, Latin letters in lower case one by one, and the space between words.

    Characters serve both languages at once and need no learned pieces. Text is plain once `plain_text` made it so.
    """

    tokens: tuple[str, ...]
    """The labels in the order of the model's scores: blank at 0, unknown at 1."""

    def __post_init__(self) -> None:
        """Check the tokens.

        Raises:
            InvalidError: blank or unknown are not where they belong, or a token is there twice or no character.
        """
        if self.tokens[:2] != (BLANK, UNKNOWN):
            raise fault("labels", f"begin with {list(self.tokens[:2])}, wanted {[BLANK, UNKNOWN]}")
        rest = self.tokens[2:]
        strange = [token for token in rest if len(token) != 1 and token != SPACE]
        twice = [token for token, count in Counter(rest).items() if count > 1]
        if strange or twice:
            raise fault("labels", f"hold {(strange or twice)[0]!r}, wanted single characters or {SPACE!r}, each once")

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Vocabulary":
        """Return the characters of the texts, which should be those of the train split, ordered by code point.

        Raises:
            InvalidError: there is no character in them.
        """
        found = sorted({character for text in texts for character in plain_text(text)})
        if not found:
            raise fault("texts", "hold no letter; give the transcripts of the train split")
        return cls((BLANK, UNKNOWN, *(SPACE if character == " " else character for character in found)))

    @classmethod
    def from_list(cls, labels: Sequence[str]) -> "Vocabulary":
        """Return the vocabulary that a model package keeps as its labels.

        Raises:
            InvalidError: they are no vocabulary.
        """
        return cls(tuple(labels))

    def to_list(self) -> list[str]:
        """Return the labels as a model package keeps them."""
        return list(self.tokens)

    def __len__(self) -> int:
        """How many scores a model gives: all tokens, with blank and unknown."""
        return len(self.tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {" " if token == SPACE else token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> npt.NDArray[np.int64]:
        """Return the ids of a text, int64 [characters]; a character that it does not know is unknown."""
        return np.array([self._ids.get(character, UNKNOWN_ID) for character in plain_text(text)], np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, blanks left out. What CTC repeats must be merged before.

        Raises:
            InvalidError: an id is not in the vocabulary.
        """
        numbers = [int(number) for number in ids]
        wrong = [number for number in numbers if not 0 <= number < len(self)]
        if wrong:
            raise fault("ids", f"hold {wrong[0]}, wanted 0 to {len(self) - 1}")
        tokens = (self.tokens[number] for number in numbers if number != BLANK_ID)
        return "".join(" " if token == SPACE else token for token in tokens)


def plain_text(text: str) -> str:
    """Return a text as it is learnt and compared: NFKC (full-width letters become usual ones), lower case, without
    punctuation but for apostrophes within words, one space between words and none beside a Han character.
    """
    usual = unicodedata.normalize("NFKC", text).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    kept = "".join(character if _is_kept(character) else " " for character in usual)
    words = " ".join(word.strip("'") for word in kept.split()).split()
    result = ""
    for word in words:
        joined = not result or is_han(result[-1]) or is_han(word[0])
        result += word if joined else f" {word}"
    return result


def is_han(character: str) -> bool:
    """Say whether a character is Han: a word for itself, with no space around it."""
    return (
        "\u3400" <= character <= "\u9fff"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U000323af"
    )


def _is_kept(character: str) -> bool:
    # Letters, marks on them, digits; all else parts words.
    return character == "'" or unicodedata.category(character)[0] in "LMN"
