"""Which checkpoints of a run are kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.train_svc.engine.checkpointing.note import Note
from services.train_svc.engine.reading import Checked, setting

KEPT = 2
"""The newest: if the disk damages the last, the one before it costs little."""


@dataclass(frozen=True, kw_only=True)
class Best(Checked):
    """Which evaluated checkpoints are kept beside the newest."""

    count: int = setting(1, least=0)
    """How many; 0: none."""
    metric: str
    """By which of the note's metrics, such as `validation_loss`."""
    rises: bool
    """Whether more is better."""

    def of(self, notes: Iterable[Note]) -> list[Note]:
        """Return the best, best first; of two that are equal the newer is the better."""
        found = [(value, note.step, note) for note in notes if (value := note.value_of(self.metric)) is not None]
        sign = 1 if self.rises else -1
        ranked = sorted(found, key=lambda entry: (sign * entry[0], entry[1]), reverse=True)
        return [note for _, _, note in ranked[: self.count]]


def kept_steps(notes: Sequence[Note], best: Best | None) -> set[int]:
    """Return the steps of the checkpoints to keep: the newest, and the best if any are asked for."""
    newest = sorted(note.step for note in notes)[-KEPT:]
    return {*newest, *(note.step for note in best.of(notes))} if best else set(newest)
