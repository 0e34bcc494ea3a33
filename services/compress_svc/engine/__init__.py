"""The compression engine: smaller children of an ONNX model, each measured against its parent.

No database, wire or queue. Nothing is imported here, so that `engine.recipe` costs the control plane neither onnx nor
numpy; the rest is `engine.compression` (all variants of a recipe), `engine.int8`, `engine.fp16`, `engine.calibration`
and `engine.card`.
"""
