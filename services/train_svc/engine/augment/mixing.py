"""Which pairs of samples are blended, and how far: MixUp, CutMix and SpecMix.

Every sample takes its partner's raw values along, among the draws. So a batch can be cut into any pieces, or dealt to
any processes, and gives the same blends; the partner is moved and blanked on the device as it is in its own place. The
price is that a batch's bytes travel twice; pairs that must stay together would make the order of samples and the size
of pieces depend on augmentation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.spec import MixSpec

Array = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

MIXES = ("mixup", "cutmix", "specmix")
MOST_BANDS = 3


def draw_partners(targets: Mapping[str, Array], count: int, chance: np.random.Generator) -> Counts:
    """Return each sample's partner, [batch]: another one, each once.

    A sample whose frames are too few for its partner's labels (CTC needs a frame for each, and one between equal
    neighbours) is its own partner, which changes nothing.
    """
    order, partners = chance.permutation(count), np.empty(count, np.int64)
    partners[order] = np.roll(order, -1)
    if {"labels", "label_lengths", "frame_lengths"} <= set(targets):
        needed = _frames_needed(targets["labels"], targets["label_lengths"])[partners]
        partners = np.where(targets["frame_lengths"] < needed, np.arange(count), partners)
    return partners


def _frames_needed(labels: Array, lengths: Array) -> Counts:
    repeats = (labels[:, 1:] == labels[:, :-1]) & (np.arange(1, labels.shape[1]) < lengths[:, None])
    needed: Counts = lengths + repeats.sum(1)
    return needed


def draw_mix(
    spec: MixSpec, x: Array, lengths: Counts, partners: Counts, chance: np.random.Generator
) -> tuple[dict[str, Array], Floats]:
    """Return what blends each sample with its partner, and the share [batch] that stays its own.

    Args:
        spec: which blends; one is drawn for the whole batch.
        x: the samples, [batch, ...].
        lengths: frames of each, for SpecMix.
        partners: of `draw_partners`.
        chance: decides.
    """
    kinds = [kind for kind in MIXES if getattr(spec, kind) > 0]
    drawn = kinds[int(chance.integers(len(kinds)))]
    drawn = drawn if chance.random() < spec.probability else ""
    draws, share = dict[str, Array](), np.ones(len(x), np.float32)
    # What is on is always there, neutral where it was not drawn: the engines compile one graph.
    for kind in kinds:
        if kind == "specmix":
            found, kept = _draw_bands(spec.specmix if kind == drawn else 0.0, x, lengths, partners, chance)
        elif kind == "cutmix":
            found, kept = _draw_boxes(spec.cutmix if kind == drawn else 0.0, x, chance)
        else:
            kept = _lambdas(spec.mixup if kind == drawn else 0.0, len(x), chance).astype(np.float32)
            found = {"keep": kept}
        draws, share = draws | found, share * kept
    return draws, share


def _lambdas(alpha: float, count: int, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    return chance.beta(alpha, alpha, count) if alpha else np.ones(count)


def _draw_boxes(alpha: float, x: Array, chance: np.random.Generator) -> tuple[dict[str, Array], Floats]:
    """CutMix: sides sqrt(1 - lambda), middle anywhere, clipped; lambda is that of the clipped area."""
    sides = np.array(x.shape[2:])
    cut = np.sqrt(1 - _lambdas(alpha, len(x), chance))
    halves = (cut[:, None] * sides).astype(np.int64) // 2
    middles = chance.integers(0, sides, (len(x), 2))
    starts, ends = (middles - halves).clip(0, sides), (middles + halves).clip(0, sides)
    kept = 1 - (ends - starts).prod(1) / sides.prod()
    return {"box": np.concatenate([starts, ends], 1).astype(np.int32)}, kept.astype(np.float32)


def _draw_bands(
    gamma: float, x: Array, lengths: Counts, partners: Counts, chance: np.random.Generator
) -> tuple[dict[str, Array], Floats]:
    """SpecMix: up to three bands an axis, each cut from the axis that it was drawn on; lambda = mean(M).

    Of recordings of different lengths, the mean is over a sample's own frames, and nothing is taken from where its
    partner has ended.
    """
    shared, features = np.minimum(lengths, lengths[partners]), np.full_like(lengths, x.shape[2])
    time, frequency = (_spread(gamma, axis, chance) for axis in (shared, features))
    kept = _uncovered(time, shared) * _uncovered(frequency, features)
    pasted = shared * features - kept
    share = 1 - pasted / (np.maximum(lengths, 1) * features)
    draws = {"mix_time": time, "mix_frequency": frequency, "shared": shared.astype(np.int32)}
    return draws, share.astype(np.float32)


def _spread(gamma: float, axis: Counts, chance: np.random.Generator) -> npt.NDArray[np.int32]:
    shape = (len(axis), MOST_BANDS)
    widest = np.broadcast_to((min(gamma, 1.0) * axis).astype(np.int64)[:, None], shape)
    there = np.arange(MOST_BANDS) < chance.integers(0, MOST_BANDS + 1, len(axis))[:, None]
    widths = np.where(there, chance.integers(np.minimum(widest, 1), widest + 1), 0)
    starts = chance.integers(0, axis[:, None] - widths + 1)
    return np.stack([starts, starts + widths], 2).astype(np.int32)


def _uncovered(bands: npt.NDArray[np.int32], axis: Counts) -> Counts:
    places = np.arange(int(axis.max(initial=0)))
    covered = ((places >= bands[:, :, :1]) & (places < bands[:, :, 1:])).any(1)
    found: Counts = (~covered & (places < axis[:, None])).sum(1)
    return found
