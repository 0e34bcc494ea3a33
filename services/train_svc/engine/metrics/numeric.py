"""How far numbers are from what they should be: regression and forecasts."""

import math

import numpy as np

from services.train_svc.engine.metrics.metric import Array, Arrays, scores_of, target
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import LossSpec


class Deviation:
    """`mae`, `rmse` and `r2`; of forecasts also `mase`.

    r2 is 1 - squared error / squared deviation from the mean, for each column (all axes but the first) alone, then the
    mean over columns, as scikit-learn's `r2_score`. mase is the mean absolute error over that of saying at each moment
    what was the moment before (Hyndman and Koehler 2006), which here is taken within the targets themselves rather than
    in the training series: below 1 is better than that.
    """

    def __init__(self, loss: LossSpec) -> None:
        self._loss = loss
        self._columns: Columns | None = None
        self._steps = self._moved = 0.0

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count outputs against `labels` of the same shape: [batch], [batch, outputs] or [batch, time, ...].

        Places where a target `mask` of that shape is 0 do not count, as for the loss; -100 is a number like any other.
        """
        wanted = target(targets).astype(np.float64)
        given = scores_of(self._loss, outputs).astype(np.float64)
        if given.shape != wanted.shape:
            message = f"labels are {list(wanted.shape)} and the output {list(given.shape)}; wanted the same shape"
            raise fault("targets.labels", message)
        kept = np.asarray(targets.get("mask", np.ones(wanted.shape))) != 0
        self._columns = self._columns or Columns(math.prod(wanted.shape[1:]))
        self._columns.add(*(each.reshape(len(wanted), -1) for each in (given, wanted, kept)))
        if self._loss.name == "forecast":
            pairs = kept[:, 1:] & kept[:, :-1]
            self._steps += float(pairs.sum())
            self._moved += float(np.abs(np.diff(wanted, axis=1))[pairs].sum())

    def result(self) -> dict[str, float]:
        """Return the means over all places that count."""
        if self._columns is None or not self._columns.count.sum():
            return {}
        places = self._columns.count.sum()
        mae = float(self._columns.absolute.sum() / places)
        found = {"mae": mae, "rmse": math.sqrt(self._columns.squared.sum() / places)}
        if self._columns.count.max() > 1:
            found["r2"] = self._columns.r2()
        if self._moved:
            found["mase"] = mae / (self._moved / self._steps)
        return found


class Columns:
    """Running sums of each column; the variance is merged batch by batch (Chan et al. 1979), which loses no digits."""

    def __init__(self, size: int) -> None:
        self.count, self.absolute, self.squared, self.mean, self.spread = np.zeros((5, size))
        """Each [columns]: places, summed absolute and squared errors, the targets' mean, their spread around it."""

    def add(self, given: Array, wanted: Array, kept: Array) -> None:
        """Count float64 outputs and targets, and which of them count, each [batch, columns]."""
        error = np.where(kept, given - wanted, 0.0)
        self.absolute += np.abs(error).sum(axis=0)
        self.squared += (error * error).sum(axis=0)
        count = kept.sum(axis=0)
        mean = np.where(kept, wanted, 0.0).sum(axis=0) / np.maximum(count, 1)
        spread = (np.where(kept, wanted - mean, 0.0) ** 2).sum(axis=0)
        together = np.maximum(self.count + count, 1)
        apart = mean - self.mean
        self.spread += spread + apart**2 * self.count * count / together
        self.mean += apart * count / together
        self.count += count

    def r2(self) -> float:
        """Return the mean over columns with two places or more; a constant one counts 1 if it is met, else 0."""
        of = self.count > 1
        squared, spread = self.squared[of], self.spread[of]
        shares = np.where(spread > 0, 1 - squared / np.where(spread > 0, spread, 1), np.where(squared > 0, 0.0, 1.0))
        return float(shares.mean())
