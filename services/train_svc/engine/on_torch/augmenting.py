"""The drawn changes of `augment.draws`, made on the device. Pure functions without branches on values: they compile."""

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from services.train_svc.engine.augment.scaling import SHARES, Scaling, factors
from services.train_svc.engine.spec import AugmentSpec

PICTURE_AXES = 4


def augment(
    inputs: Mapping[str, Tensor], draws: Mapping[str, Tensor], spec: AugmentSpec, *, scaling: Scaling = SHARES
) -> dict[str, Tensor]:
    """Return the inputs with the first of them changed as the draws say.

    Args:
        inputs: the batch's, by name. The first, if it is a picture [batch, channels, height, width] of uint8, becomes
            float32 and scaled, with draws or without.
        draws: the batch's; none: nothing else is changed.
        spec: says what comes in at the edges.
        scaling: mean and std of pictures of uint8.
    """
    name = next(iter(inputs))
    x = _changed(inputs[name], draws, "", spec, scaling)
    if "partner" in draws:
        x = _blend(x, _changed(draws["partner"], draws, "partner_", spec, scaling), draws)
    return {**inputs, name: _mask(x, draws)}


def _changed(x: Tensor, draws: Mapping[str, Tensor], whose: str, spec: AugmentSpec, scaling: Scaling) -> Tensor:
    is_bytes = x.dtype == torch.uint8 and x.ndim == PICTURE_AXES
    if f"{whose}map" in draws:
        x = resample(x, draws[f"{whose}map"], spec.padding)
    if is_bytes:
        factor, offset = (torch.from_numpy(each).to(x.device) for each in factors(scaling))
        x = x.float() * factor + offset
    if f"{whose}erase" in draws:
        x = x.float().masked_fill(_inside(draws[f"{whose}erase"], x), 0)
    return x


def resample(x: Tensor, maps: Tensor, padding: str) -> Tensor:
    """Return pictures read at mapped places, bilinearly.

    Args:
        x: [batch, channels, height, width], of any type.
        maps: [batch, 2, 3] from places of the new picture to places of `x`, in pixels from the middle.
        padding: `zeros`, or `border`: the nearest pixel.

    Returns:
        float32 of the same shape.
    """
    count, channels, height, width = x.shape
    column, row = (torch.arange(side, device=x.device) - (side - 1) / 2 for side in (width, height))
    across, down = (
        _neighbours(maps[:, axis, :, None, None], column, row[:, None], side, padding)
        for axis, side in enumerate((width, height))
    )
    flat, total = x.reshape(count, channels, height * width), x.new_zeros((), dtype=torch.float32)
    for (i, weight_down), (j, weight_across) in product(down, across):
        index = (i * width + j).view(count, 1, height * width).expand_as(flat)
        found = flat.gather(2, index).view(x.shape).float()
        total = torch.addcmul(total, found, (weight_down * weight_across)[:, None])
    return total


def _neighbours(row: Tensor, across: Tensor, down: Tensor, side: int, padding: str) -> list[tuple[Tensor, Tensor]]:
    """Return the two pixels between which each place lies on one axis, and their weights, [batch, height, width]."""
    place = row[:, 0] * across + row[:, 1] * down + (row[:, 2] + (side - 1) / 2)
    if padding == "border":
        place = place.clamp(0, side - 1)
    before = place.floor()
    behind = place - before
    kept = [(before, 1 - behind), (before + 1, behind)]
    return [(at.clamp(0, side - 1).long(), weight * ((at >= 0) & (at < side))) for at, weight in kept]


def _inside(box: Tensor, x: Tensor) -> Tensor:
    """Return where the boxes [batch, 4] lie: bool [batch, 1, height, width]."""
    top, left, bottom, right = (each[:, None] for each in box.unbind(1))
    row, column = (torch.arange(side, device=x.device) for side in x.shape[2:])
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _covered(bands: Tensor, side: int) -> Tensor:
    """Return the places of an axis that bands [batch, bands, 2] cover: bool [batch, side]."""
    place = torch.arange(side, device=bands.device)
    return ((place >= bands[:, :, :1]) & (place < bands[:, :, 1:])).any(1)


def _blend(x: Tensor, partner: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
    if "keep" in draws:
        keep = draws["keep"].view(-1, *[1] * (x.ndim - 1))
        x = x * keep + partner * (1 - keep)
    if "box" in draws:
        x = torch.where(_inside(draws["box"], x), partner, x)
    if "shared" in draws:
        time = _covered(draws["mix_time"], x.shape[1])[:, :, None]
        frequency = _covered(draws["mix_frequency"], x.shape[2])[:, None, :]
        is_shared = torch.arange(x.shape[1], device=x.device) < draws["shared"][:, None]
        x = torch.where((time | frequency) & is_shared[:, :, None], partner, x)
    return x


def _mask(x: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
    if "mask_time" in draws:
        x = x.masked_fill(_covered(draws["mask_time"], x.shape[1])[:, :, None], 0)
    if "mask_frequency" in draws:
        x = x.masked_fill(_covered(draws["mask_frequency"], x.shape[2])[:, None, :], 0)
    return x
