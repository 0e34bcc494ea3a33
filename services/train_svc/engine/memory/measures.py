"""What can be done so that a step takes less memory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from services.train_svc.engine.reading import Checked, setting

MomentsPrecision = Literal["float32", "bfloat16", "8bit"]


@dataclass(frozen=True, kw_only=True)
class Measures(Checked):
    """A set of measures. As it comes: none."""

    pieces: int = setting(1, least=1)
    """Pieces that a batch is computed in, one after another; activations shrink with their number."""
    recompute: float = setting(0.0, least=0, most=1)
    """Share of the model's units whose activations are computed again in the backward pass instead of kept (Chen et al.
    2016, arXiv 1604.06174); about a third more work at 1."""
    chunked_head: bool = False
    """The scores of a vocabulary are computed a part at a time, at places that have a label alone."""
    moments: MomentsPrecision = "float32"
    """Number format of the optimizer's moments; fewer bits change the curve (Dettmers et al. 2022, arXiv
    2110.02861)."""
    offload_activations: bool = False
    """Activations wait for the backward pass in the host's memory."""
    offload_moments: bool = False
    """The optimizer's moments stay in the host's memory, and come to the device a part at a time."""

    def __str__(self) -> str:
        """Return it in words: `batch in 4 pieces, all units recomputed`."""
        found = [
            words(name, getattr(self, name)) for name in vars(self) if getattr(self, name) != getattr(NOTHING, name)
        ]
        return ", ".join(found) or "no measures"


NOTHING = Measures()


def words(field: str, level: Any) -> str:  # noqa: ANN401 - a value of any field
    """Return one measure in words."""
    share = "all" if level == 1 else f"{float(level):.0%} of the" if field == "recompute" else ""
    return {
        "pieces": f"batch in {level} pieces",
        "recompute": f"{share} units recomputed",
        "chunked_head": "scores in chunks",
        "moments": f"moments in {level}",
        "offload_activations": "activations on the host",
        "offload_moments": "moments on the host",
    }[field]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One measure that may be taken, and how far."""

    field: str
    """Which of `Measures`."""
    levels: tuple[Any, ...]
    """Its values beyond that of no measures, from mild to strict."""
    exact: bool = True
    """Whether the curve stays as it is, but for rounding."""

    def at(self, measures: Measures, level: Any) -> Measures:  # noqa: ANN401 - one of the levels
        """Return the measures with this one at a level."""
        return replace(measures, **{self.field: level})

    def height(self, measures: Measures) -> int:
        """Return how far the measures go: 0 is not at all, then the levels."""
        value = getattr(measures, self.field)
        return self.levels.index(value) + 1 if value in self.levels else 0


Ladder = tuple[Rung, ...]
"""Measures that may be taken, from cheap to dear."""


def ladder(
    *,
    most_pieces: int = 64,
    pieces_exact: bool = True,
    units: int = 0,
    head: bool = False,
    moments: Sequence[MomentsPrecision] = (),
    offload: bool = False,
) -> Ladder:
    """Return what a run may take.

    Args:
        most_pieces: a batch's samples, or fewer; 1: the batch stays whole.
        pieces_exact: False where samples of a batch see one another, as in a batch norm.
        units: how many can be recomputed.
        head: whether the scores can be computed in chunks.
        moments: formats that the optimizer's moments can have besides float32.
        offload: whether the device's memory is another than the host's.
    """
    pieces = tuple(2**power for power in range(1, 13) if 2**power <= most_pieces)
    shares = tuple(share for share in (0.25, 0.5, 0.75, 1.0) if share == 1 or units >= 4)  # noqa: PLR2004 - quarters
    rungs = (
        Rung(field="chunked_head", levels=(True,) if head else ()),
        Rung(field="pieces", levels=pieces, exact=pieces_exact),
        Rung(field="recompute", levels=shares if units else ()),
        Rung(field="offload_moments", levels=(True,) if offload else ()),
        Rung(field="offload_activations", levels=(True,) if offload else ()),
        Rung(field="moments", levels=tuple(moments), exact=False),
    )
    return tuple(rung for rung in rungs if rung.levels)


def spread(names: Iterable[str], share: float) -> list[str]:
    """Return a share of the names, evenly spread: every second of them at 0.5."""
    return [name for place, name in enumerate(names, 1) if int(place * share + 1e-9) > int((place - 1) * share + 1e-9)]
