"""Make a trained ONNX model smaller and measure what that costs, with no service running.

    from modelwright.compress import quantize, report_card, to_fp16

Names load when they are first used: `Recipe` needs neither onnx nor onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwright.compress.library import quantize, report_card, to_fp16
    from services.compress_svc.engine.compression import Compressor, Outcome, Parent
    from services.compress_svc.engine.recipe import Recipe, VariantRecipe

__all__ = ["Compressor", "Outcome", "Parent", "Recipe", "VariantRecipe", "quantize", "report_card", "to_fp16"]

_HOMES = {
    "Compressor": "services.compress_svc.engine.compression",
    "Outcome": "services.compress_svc.engine.compression",
    "Parent": "services.compress_svc.engine.compression",
    "Recipe": "services.compress_svc.engine.recipe",
    "VariantRecipe": "services.compress_svc.engine.recipe",
    "quantize": "modelwright.compress.library",
    "report_card": "modelwright.compress.library",
    "to_fp16": "modelwright.compress.library",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
