"""The blocks of `architecture.blocks.pixels` on torch."""

import torch
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.pixels import Pixels, Resize, SpaceToDepth
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds, run


@builds(Pixels)
class EachPixel(TorchBlock):
    """[N, C, H, W] to [N, C', H, W]; views of one another where memory is channels-last."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the body's output as a picture."""
        sides = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        for module in self.children():
            x = run(module, x, context)
        return torch.unflatten(x.transpose(1, 2), 2, sides)


@builds(Resize)
class Interpolated(TorchBlock):
    """[N, C, H, W] to [N, C, H', W']."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the picture at its new size."""
        block = self.block
        size = context.values[block.like].shape[2:] if block.like else [side * block.factor for side in x.shape[2:]]
        return functional.interpolate(x, size, mode="bilinear", align_corners=False)


@builds(SpaceToDepth)
class Squares(TorchBlock):
    """[N, C, H, W] to [N, factor^2 C, H', W'], in channels-last memory."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return the smaller picture."""
        factor = self.block.factor
        x = filled(x.permute(0, 2, 3, 1), factor)
        squares = torch.unflatten(torch.unflatten(x, 2, (-1, factor)), 1, (-1, factor))
        return squares.permute(0, 1, 3, 4, 2, 5).flatten(3).permute(0, 3, 1, 2)


def filled(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return [N, H, W, C] with zeros at the bottom and on the right, so that squares of `side` pixels fill it."""
    bottom, right = -x.shape[1] % side, -x.shape[2] % side
    return functional.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x
