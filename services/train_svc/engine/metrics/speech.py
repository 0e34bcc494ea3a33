"""How much of speech is recognised wrongly: character, word and mixed error rates."""

from collections.abc import Callable

import numpy as np

from services.train_svc.engine.metrics.edits import Tokens, count_edits, count_edits_of
from services.train_svc.engine.metrics.intervals import bootstrap_rate
from services.train_svc.engine.metrics.metric import Array, Arrays, Vocabulary
from services.train_svc.engine.metrics.text import characters, is_han, mixed_tokens, normalized, words
from services.train_svc.engine.metrics.transcripts import Reader, references
from services.train_svc.engine.spec import IGNORED


class ErrorRates:
    """`cer` with its 95% bootstrap interval `cer_ci_low`, `cer_ci_high`; `wer`; `mer` with `mer_zh` and `mer_en`.

    Each is (substituted + deleted + inserted) / tokens said, over all utterances, of normalised text. mer is the mixed
    error rate of code-switched speech, whose token is one Han character or one word of other letters; its errors and
    tokens are also counted apart, Han (`mer_zh`) and all else (`mer_en`), within the one alignment. It is not the match
    error rate that jiwer calls mer.

    Without a vocabulary there is no text: each token counts as one character, and there is `cer` alone.

    Args:
        read: gives the tokens that were recognised.
        vocabulary: turns tokens into text.
        lower: whether case counts for nothing.
        ignored: label of places that count for nothing.
    """

    def __init__(
        self, read: Reader, vocabulary: Vocabulary | None = None, *, lower: bool = True, ignored: int = IGNORED
    ) -> None:
        self._read = read
        self._vocabulary = vocabulary
        self._lower = lower
        self._ignored = ignored
        self._edits: dict[str, list[Array]] = {}

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count scores against `labels` [batch, label]; see `transcripts` for each loss's names and shapes."""
        self.count(references(targets, self._ignored), self._read(outputs, targets))

    def count(self, said: list[list[int]], heard: list[list[int]]) -> None:
        """Count utterances, as tokens."""
        if self._vocabulary is None:
            self._note("cer", count_edits(*([[str(each) for each in row] for row in part] for part in (said, heard))))
            return
        decode = self._vocabulary.decode
        self.count_text(*([decode(row) for row in part] for part in (said, heard)))

    def count_text(self, said: list[str], heard: list[str]) -> None:
        """Count utterances, as text; they are normalised here."""
        texts = [[normalized(text, lower=self._lower) for text in part] for part in (said, heard)]
        self._note("cer", count_edits(*_cut(texts, characters)))
        self._note("wer", count_edits(*_cut(texts, words)))
        mixed = _cut(texts, mixed_tokens)
        self._note("mer_zh", count_edits_of(*mixed, is_han_token))
        self._note("mer_en", count_edits_of(*mixed, lambda token: not is_han_token(token)))

    def result(self) -> dict[str, float]:
        """Return the rates as shares (0.05 is 5%; above 1 with many insertions), none of what was never said."""
        edits = {name: np.concatenate(parts) for name, parts in self._edits.items()}
        if "mer_zh" in edits:
            edits["mer"] = edits["mer_zh"] + edits["mer_en"]
        sums = {name: each.sum(axis=0) for name, each in edits.items()}
        found = {name: float(errors / tokens) for name, (errors, tokens) in sums.items() if tokens}
        if "cer" in found:
            found["cer_ci_low"], found["cer_ci_high"] = bootstrap_rate(edits["cer"][:, 0], edits["cer"][:, 1])
        return found

    def _note(self, name: str, edits: Array) -> None:
        self._edits.setdefault(name, []).append(edits)


def is_han_token(token: str) -> bool:
    """Say whether a token of `mixed_tokens` is a Han character."""
    return is_han(token[0])


def _cut(texts: list[list[str]], into: Callable[[str], list[str]]) -> tuple[Tokens, Tokens]:
    said, heard = ([into(text) for text in part] for part in texts)
    return said, heard
