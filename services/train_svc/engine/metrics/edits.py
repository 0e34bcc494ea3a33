"""How many edits turn what was recognised into what was said, by jiwer's alignment (the fewest, Levenshtein 1966)."""

from collections.abc import Callable, Sequence

import jiwer
import numpy as np

from services.train_svc.engine.metrics.metric import Array

Tokens = Sequence[list[str]]


def count_edits(references: Tokens, hypotheses: Tokens) -> Array:
    """Return int64 [utterances, 2]: edits (substituted, deleted, inserted tokens), and tokens of the reference."""
    return count_edits_of(references, hypotheses, lambda _: True)


def count_edits_of(references: Tokens, hypotheses: Tokens, belongs: Callable[[str], bool]) -> Array:
    """Return the same, of some tokens alone, of an alignment of all.

    A deleted or substituted token is an error of its own kind, an inserted one of the kind that was inserted.

    Args:
        references: the tokens of each utterance that were said.
        hypotheses: those that were recognised.
        belongs: says of a token whether it counts.
    """
    found = np.zeros((len(references), 2), np.int64)
    # Already tokens, so that there is nothing to transform; `list` satisfies the form of a transform.
    aligned = jiwer.process_words(references, hypotheses, list, list)  # type: ignore[arg-type]  # lists of tokens
    for row, (said, heard, chunks) in enumerate(zip(references, hypotheses, aligned.alignments, strict=True)):
        found[row, 1] = sum(map(belongs, said))
        for chunk in chunks:
            if chunk.type == "insert":
                found[row, 0] += sum(map(belongs, heard[chunk.hyp_start_idx : chunk.hyp_end_idx]))
            elif chunk.type != "equal":
                found[row, 0] += sum(map(belongs, said[chunk.ref_start_idx : chunk.ref_end_idx]))
    return found
