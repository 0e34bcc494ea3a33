"""What train_svc's workers do: job bodies, and the wires that the engine's ports hang on.

Importing this loads no engine: a worker's parent process needs the names alone, and its fork server preloads.
"""

KINDS = {"train": "services.train_svc.tasks.train:train"}
"""Kind of job to its body."""

PRELOAD = (
    "services.train_svc.tasks.train",
    "services.train_svc.engine.on_torch.workshop",
    "sklearn.metrics",
    "torch._dynamo",
    "torch._functorch.aot_autograd",
    "torch._functorch.partitioners",
    "torch.export",
    "torch.utils.flop_counter",
    "torch.onnx._internal.exporter._core",
    "onnxscript.function_libs.torch_lib.ops",
    "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin",
)
"""Modules that a child should find imported: the first step comes seconds sooner, the export one. None touches a
GPU. NumPy, pyarrow and ONNX Runtime start an idle thread each when they are imported, which children do without."""
