"""The random numbers of a batch's augmentation: a pure function of (seed, step), drawn on the host in NumPy.

What is changed is a batch's first input: a picture [batch, channels, height, width] or features [batch, time,
features]. `on_torch.augmenting` and `on_tensorflow.augmenting` make the changes on the device, in this order: one
resampling (move, mirror, crop), scaling of bytes, blanked rectangles, blends of pairs, masks. The draws:

    map [batch, 2, 3] float32           where each pixel comes from, see `maps`
    erase [batch, 4] int32              blanked rectangle: top, left, bottom, right
    partner [batch, ...]                raw values of the sample that it is blended with
    partner_map, partner_erase          the partner's own
    keep [batch] float32                MixUp's weight of the sample itself
    box [batch, 4] int32                CutMix's rectangle that is taken from the partner
    mix_time, mix_frequency [batch, 3, 2] int32    SpecMix's bands that are taken from the partner
    shared [batch] int32                frames that the partner has too
    mask_time, mask_frequency [batch, masks, 2] int32    SpecAugment's zeroed bands

All have the batch first, so that a batch is cut with its draws.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.augment.chances import chance_of
from services.train_svc.engine.augment.erasing import draw_rectangles
from services.train_svc.engine.augment.maps import draw_maps, move_labels
from services.train_svc.engine.augment.masking import draw_masks
from services.train_svc.engine.augment.mixing import MIXES, draw_mix, draw_partners
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import IGNORED, AugmentSpec, MaskSpec, MixSpec

Array = npt.NDArray[Any]

PICTURE_AXES, FEATURE_AXES = 4, 3
LABELS = ("labels", "label_lengths")


def draw(augment: AugmentSpec, mix: MixSpec, mask: MaskSpec, *, batch: Batch, seed: int, step: int) -> Batch:
    """Return the batch with its `draws`; blends add `other_labels`, `other_label_lengths` and `share` to its targets.

    Args:
        augment: changes of single pictures; nothing of it is done to other inputs unless it was asked for.
        mix: blends of pairs.
        mask: masks on features.
        batch: samples as they are.
        seed: the run's.
        step: which batch of the run.

    Raises:
        InvalidError: the batch is nothing that this can be done to; it says which setting to leave out.
    """
    if not batch.inputs or not len(batch):
        return batch
    _check(augment, mix, mask, batch)
    if _is_picture(_changed(batch)):
        batch = _draw_picture(augment, batch, seed, step)
    if any(getattr(mix, kind) > 0 for kind in MIXES):
        batch = _draw_pairs(mix, batch, seed, step)
    if mask.time_masks or mask.frequency_masks:
        x = _changed(batch)
        masks = draw_masks(mask, _lengths(batch), x.shape[2], chance_of(seed, step, "mask"))
        batch = replace(batch, draws={**batch.draws, **masks})
    return batch


def _draw_picture(spec: AugmentSpec, batch: Batch, seed: int, step: int) -> Batch:
    count, _, height, width = _changed(batch).shape
    draws, targets = dict(batch.draws), dict(batch.targets)
    maps = draw_maps(spec, count, height, width, seed=seed, step=step)
    if maps is not None:
        draws["map"] = maps
        if _has_pixel_labels(batch):
            # Where the edge is repeated, it is the picture's alone: what came in has no label.
            targets["labels"] = move_labels(targets["labels"], maps, IGNORED)
    if spec.erase:
        draws["erase"] = draw_rectangles(spec.erase, count, height, width, chance_of(seed, step, "erase"))
    return replace(batch, draws=draws, targets=targets)


def _draw_pairs(spec: MixSpec, batch: Batch, seed: int, step: int) -> Batch:
    x, chance = _changed(batch), chance_of(seed, step, "mix")
    partners = draw_partners(batch.targets, len(batch), chance)
    blend, share = draw_mix(spec, x, _lengths(batch), partners, chance)
    partner = {"partner": x[partners]}
    partner |= {f"partner_{name}": batch.draws[name][partners] for name in ("map", "erase") if name in batch.draws}
    others = {f"other_{name}": batch.targets[name][partners] for name in LABELS if name in batch.targets}
    return replace(
        batch, draws={**batch.draws, **partner, **blend}, targets={**batch.targets, **others, "share": share}
    )


def _changed(batch: Batch) -> Array:
    found: Array = next(iter(batch.inputs.values()))
    return found


def _lengths(batch: Batch) -> npt.NDArray[np.int64]:
    """Return how many frames of the first input are real: the input `lengths`, or `<input>_lengths`; else all."""
    name, x = next(iter(batch.inputs.items()))
    whole = np.full(len(x), x.shape[1] if x.ndim > 1 else 0, np.int64)
    given = batch.inputs.get(f"{name}_lengths", batch.inputs.get("lengths", whole))
    return np.minimum(np.asarray(given, np.int64), whole)


def _is_picture(x: Array) -> bool:
    return x.ndim == PICTURE_AXES and (x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating))


def _has_pixel_labels(batch: Batch) -> bool:
    labels = batch.targets.get("labels")
    if labels is None or labels.ndim != PICTURE_AXES - 1 or not np.issubdtype(labels.dtype, np.integer):
        return False
    picture = _changed(batch).shape[2:]
    if labels.shape[1:] != picture:
        message = f"labels of {list(labels.shape[1:])} cannot be moved with pictures of {list(picture)}; resize them"
        raise fault("train.augment", message)
    return True


def _check(augment: AugmentSpec, mix: MixSpec, mask: MaskSpec, batch: Batch) -> None:
    x = _changed(batch)
    is_picture, is_float = _is_picture(x), np.issubdtype(x.dtype, np.floating)
    is_features = x.ndim == FEATURE_AXES and is_float
    asked = {
        "train.augment.flip": (augment.flip > 0, is_picture, "pictures"),
        "train.augment.crop_scale": (augment.crop_scale < 1, is_picture, "pictures"),
        "train.augment.erase": (augment.erase > 0, is_picture, "pictures"),
        "train.mix.mixup": (mix.mixup > 0, is_picture or is_float, "numbers with a fraction"),
        "train.mix.cutmix": (mix.cutmix > 0, is_picture, "pictures"),
        "train.mix.specmix": (mix.specmix > 0, is_features, "features"),
        "train.mask": (mask.time_masks + mask.frequency_masks > 0, is_features, "features"),
    }
    forms = {"pictures": " [batch, channels, height, width]", "features": " [batch, time, features]"}
    for path, (on, fits, wanted) in asked.items():
        if on and not fits:
            got = f"{next(iter(batch.inputs))!r} is {x.dtype} {list(x.shape)}"
            raise fault(path, f"takes {wanted}{forms.get(wanted, '')}, and the input {got}; leave it out")
    if any(getattr(mix, kind) > 0 for kind in MIXES):
        _check_blend(batch)


def _check_blend(batch: Batch) -> None:
    more = [name for name in list(batch.inputs)[1:] if not name.endswith("lengths")]
    if more:
        raise fault("train.mix", f"blends one input, and this model has {', '.join(more)} besides; leave it out")
    if "labels" not in batch.targets:
        raise fault("train.mix", f"blends `labels`, and the targets are {', '.join(batch.targets) or 'none'}")
    if _is_picture(_changed(batch)) and _has_pixel_labels(batch):
        raise fault("train.mix", "blends labels of whole samples, and these are of single pixels; leave it out")
