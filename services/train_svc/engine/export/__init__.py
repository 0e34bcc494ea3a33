"""ONNX out of torch models, checked against what torch itself gives."""

from services.train_svc.engine.architecture import INPUT, OUTPUT
from services.train_svc.engine.export.checking import ATOL, BATCHES, RTOL, Port
from services.train_svc.engine.export.exporting import Export, export_model, export_module, export_onnx
from services.train_svc.engine.export.graph import OPSET, ExportError
from services.train_svc.engine.export.steps import NEXT

__all__ = [
    "ATOL",
    "BATCHES",
    "INPUT",
    "NEXT",
    "OPSET",
    "OUTPUT",
    "RTOL",
    "Export",
    "ExportError",
    "Port",
    "export_model",
    "export_module",
    "export_onnx",
]
