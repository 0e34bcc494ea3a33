"""How far numbers in a short format are from those in float32, summed over runs."""

from collections.abc import Sequence

import torch


class Tally:
    """Errors of tensors in some places, such as an operator's outputs; each place counts by itself."""

    def __init__(self) -> None:
        self._squares: dict[str, tuple[float, float]] = {}
        self.numbers = 0
        """Finite ones in float32."""
        self.overflowed = 0
        """Of these not finite in the short format."""
        self.nonzero = 0
        """Finite ones in float32 that are not zero."""
        self.vanished = 0
        """Of these zero in the short format."""

    def add(
        self, place: str, exact: Sequence[torch.Tensor], found: Sequence[torch.Tensor], *, counts: bool = True
    ) -> None:
        """Add the errors of tensors of one place, which are judged as one vector.

        Args:
            place: such as `output/0`.
            exact: in float32.
            found: the same in the short format.
            counts: whether overflow and underflow are noted too.
        """
        for one, other in zip(exact, found, strict=True):
            wide, short = one.detach().double(), other.detach().double()
            if counts:
                self._count(wide, short)
            self._measure(place, wide, short)

    def _measure(self, place: str, exact: torch.Tensor, found: torch.Tensor) -> None:
        held = torch.isfinite(exact) & torch.isfinite(found)
        wrong, size = self._squares.get(place, (0.0, 0.0))
        wrong += float((exact - found)[held].square().sum())
        self._squares[place] = wrong, size + float(exact[held].square().sum())

    def _count(self, exact: torch.Tensor, found: torch.Tensor) -> None:
        real = torch.isfinite(exact)
        held = real & torch.isfinite(found)
        filled = real & (exact != 0)
        self.numbers += int(real.sum())
        self.overflowed += int((real & ~held).sum())
        self.nonzero += int(filled.sum())
        self.vanished += int((filled & (found == 0)).sum())

    def error(self, prefix: str) -> float:
        """Return the norm of the error over that of the exact numbers, of the worst place that begins so."""
        places = [pair for place, pair in self._squares.items() if place.startswith(prefix)]
        return max(((wrong / size) ** 0.5 for wrong, size in places if size), default=0.0)

    @property
    def overflow(self) -> float:
        """Share of the finite numbers that the short format does not hold."""
        return self.overflowed / max(self.numbers, 1)

    @property
    def underflow(self) -> float:
        """Share of the numbers that are not zero and became zero."""
        return self.vanished / max(self.nonzero, 1)
