"""What the losses of both engines share, on the host: names, shapes, checks and decoding. Loads no engine."""

from services.train_svc.engine.losses.checking import check_targets
from services.train_svc.engine.losses.decoding import ctc_greedy, decoder_inputs, end_token
from services.train_svc.engine.losses.forms import check_shapes, output_of, outputs_of, require
from services.train_svc.engine.losses.mixing import Side, sides

__all__ = [
    "Side",
    "check_shapes",
    "check_targets",
    "ctc_greedy",
    "decoder_inputs",
    "end_token",
    "output_of",
    "outputs_of",
    "require",
    "sides",
]
