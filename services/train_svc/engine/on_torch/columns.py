"""The blocks of `architecture.blocks.columns` on torch."""

import torch
from torch.nn import functional

from services.train_svc.engine.architecture.blocks.columns import CategoryTokens, NumberTokens
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock, builds


@builds(NumberTokens)
class ScaledVectors(TorchBlock):
    """x_j W_j + b_j."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, columns, features]."""
        return torch.addcmul(self.bias, x[:, :, None], self.weight)


@builds(CategoryTokens)
class ColumnVectors(TorchBlock):
    """Vectors of categories, and of their columns."""

    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Return [batch, columns, features], after `x` where another value is looked up."""
        ids = context.values[self.block.input] if self.block.input else x
        rows = ids + torch.tensor(self.block.starts, device=ids.device)
        vectors = functional.embedding(rows, self.weight) + self.bias
        return torch.cat((x, vectors), 1) if self.block.input else vectors
