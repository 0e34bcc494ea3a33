"""The blocks. Names and defaults are the field's own (torch.nn where it has the layer).

A family is a file here and one of the same name in `on_torch` and `on_tensorflow`; a block is a class in each.
"""

from importlib import import_module

FAMILIES = (
    "alignment",
    "attention",
    "channels",
    "columns",
    "combine",
    "convolution",
    "elementwise",
    "emformer",
    "experts",
    "gates",
    "lightconv",
    "linear",
    "normalization",
    "pixels",
    "positions",
    "pretraining",
    "recurrent",
    "relative",
    "reshape",
    "streaming",
    "transducer",
    "weight_norm",
    "windows",
)
"""The families. Importing this makes every kind known; importing an engine makes its side of each known."""

for family in FAMILIES:
    import_module(f"{__name__}.{family}")
