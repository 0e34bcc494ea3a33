"""A small Tacotron 2 whose attention points as sharply as a trained one, with a batch."""

from collections.abc import Callable

import torch

from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.model import Model
from services.train_svc.engine.templates import describe

ATTENTION = "decoder.aligned.body.looked.look.attention"


def pointing_tacotron(
    attention: str = "dynamic_convolution", seed: int = 1
) -> tuple[Model, Callable[[], torch.Tensor]]:
    """Return the model, and what computes its loss on one batch."""
    torch.manual_seed(seed)
    description = describe(
        "tacotron2", attention=attention, vocab_size=20, features=16, d_model=32, num_layers=2, prenet_dim=16,
        rnn_dim=32, attention_dim=16, postnet_layers=2, postnet_dim=16, dropout=0.0, rnn_dropout=0.0,
        prenet_dropout=0.0,
    )  # fmt: skip
    model = build(description)
    lengths, frame_lengths = torch.tensor([24, 20, 9, 3]), torch.tensor([40, 30, 20, 4])
    tokens, frames = torch.randint(0, 20, (4, 24)), torch.randn(4, 40, 16)
    with torch.no_grad():
        # Random weights look everywhere at once; what is learnt looks at one symbol.
        model.get_parameter(f"{ATTENTION}.score.weight").mul_(20)

    def step() -> torch.Tensor:
        made = model(tokens=tokens, frames=frames, lengths=lengths, frame_lengths=frame_lengths)
        mels = sum((made[name].float() - frames).square().mean() for name in ("mel", "mel_postnet"))
        total: torch.Tensor = mels + made["gate"].float().square().mean()
        return total

    return model, step
