"""What torch keeps of models that are gone."""

import sys

import torch


def forget() -> None:
    """Let go of compiled graphs and of the GPU's memory that nothing uses.

    Models share the code of their forward passes, of which Dynamo keeps a few graphs and then no longer compiles; a
    process that trains one model after the other would come to that.
    """
    # Not loaded where nothing was compiled, and loading it takes a second.
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch does not type it
        torch.cuda.empty_cache()
