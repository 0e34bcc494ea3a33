"""Random shifts, turns and sizes of a batch of pictures, in one resampling."""

import math

import torch
from torch.nn import functional

from services.train_svc.engine.spec import AugmentSpec


def augment(pictures: torch.Tensor, spec: AugmentSpec, seed: int) -> torch.Tensor:
    """Return the pictures, each moved by its own random affine map.

    Args:
        pictures: [N, C, H, W] float32; 0 is black.
        spec: the largest changes.
        seed: decides them all.
    """
    if not (spec.shift_pixels or spec.rotate_degrees or spec.scale):
        return pictures
    count, _, height, width = pictures.shape
    chance = torch.Generator().manual_seed(seed)
    turn, size, across, down = torch.rand(4, count, generator=chance) * 2 - 1
    angle = turn * math.radians(spec.rotate_degrees)
    factor = 1 + size * spec.scale
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    across, down = across * spec.shift_pixels * 2 / width, down * spec.shift_pixels * 2 / height
    # Coordinates of a grid run from -1 to 1 on each side, whatever its length.
    rows = torch.stack([cosine, -sine * height / width, across, sine * width / height, cosine, down], dim=1)
    maps = rows.view(count, 2, 3).to(pictures.device)
    grid = functional.affine_grid(maps, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode=spec.padding, align_corners=False)
