"""Every template as ONNX: whole, and as a step where it decodes or streams. The export itself compares with torch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modelwright.train import build, describe, export_onnx, save_weights, templates
from services.train_svc.engine.architecture import Description

TEXT: dict[str, Any] = {"vocab_size": 50, "num_layers": 1, "d_model": 16, "attention_heads": 4, "feed_forward": 24}
PICTURE: dict[str, Any] = {"image_height": 32, "image_width": 32, "num_classes": 5}
TINY: dict[str, dict[str, Any]] = {
    "bert": {**TEXT, "head": "pretraining"},
    "conformer": {"features": 12, "encoder": {"num_layers": 1, "d_model": 8, "attention_heads": 2, "kernel_size": 5},
                  "decoder": {"vocab_size": 11, "embedding_dim": 6, "hidden_size": 7, "joint_size": 5}},
    "convnext": {**PICTURE, "depths": [1, 1], "widths": [8, 12]},
    "dynamicconv": {**{key: value for key, value in TEXT.items() if key != "num_layers"},
                    "encoder_kernels": [3, 4], "decoder_kernels": [3, 5]},
    "efficientnet": {**PICTURE, "width_coefficient": 0.25, "depth_coefficient": 0.3},
    "emformer": {**TEXT, "features": 5, "input_dim": 4, "left_context": 6, "memory_size": 2,
                 "predictor": {"num_layers": 1, "embedding_dim": 8}},
    "ft_transformer": {**{key: TEXT[key] for key in ("num_layers", "d_model", "attention_heads", "feed_forward")},
                       "numbers": 3, "cardinalities": [4, 6]},
    "gpt2": {**TEXT, "max_length": 20},
    "llama": {**TEXT, "kv_heads": 2, "qk_norm": True},
    "mlp": {},
    "mobilenet_v3": {**PICTURE, "layout": "small", "width_coefficient": 0.25},
    "modernbert": {**TEXT, "num_layers": 2, "local_attention": 4, "global_every": 2},
    "moe_decoder": {**TEXT, "kv_heads": 2, "experts": 4},
    "patchtst": {"num_layers": 1, "d_model": 16, "attention_heads": 4, "feed_forward": 24, "horizon": 3},
    "resnet": {**PICTURE, "depths": [1, 1, 1, 1], "width": 8},
    "resnet_small": {},
    "segformer": {**PICTURE, "num_layers": [1, 1], "d_model": [8, 12], "attention_heads": [1, 2],
                  "reductions": [2, 1], "decoder_features": 8},
    "swin": {**PICTURE, "num_layers": [2, 1], "d_model": 8, "attention_heads": [2, 4], "window": 3, "patch_size": 2},
    "t5": {**TEXT, "head_dim": 4},
    "tacotron2": {"vocab_size": 20, "features": 6, "d_model": 8, "num_layers": 1, "prenet_dim": 7, "rnn_dim": 10,
                  "attention_dim": 5, "postnet_layers": 2, "postnet_dim": 9},
    "transformer": TEXT,
    "u2pp_conformer": {"features": 12, "encoder": {"num_layers": 1, "d_model": 8, "attention_heads": 2,
                                                   "feed_forward": 12, "kernel_size": 4, "chunk_size": 4,
                                                   "left_chunks": 2},
                       "decoder": {"vocab_size": 11, "num_layers": 1, "reverse_layers": 1, "attention_heads": 2,
                                   "feed_forward": 12}},
    "vit": {**PICTURE, "num_layers": 1, "d_model": 16, "attention_heads": 4, "feed_forward": 24},
    "wav2vec2": {"conv_channels": 8, "num_layers": 1, "d_model": 16, "attention_heads": 4, "feed_forward": 24,
                 "position_kernel": 8, "position_groups": 4, "head": "ctc"},
    "whisper": {**TEXT, "num_mels": 6, "max_frames": 20, "max_length": 16},
}  # fmt: skip
DECODER: dict[str, Any] = {"part": "decoder", "step": True}
FORMS: dict[str, list[dict[str, Any]]] = {
    "conformer": [{"part": "predictor", "step": True}],
    "dynamicconv": [DECODER, {"part": "encoder", "memory_for": "decoder"}],
    "emformer": [{"part": "encoder", "step": True}, {"part": "predictor", "step": True}, {"part": "joiner"}],
    "gpt2": [{"step": True}],
    "llama": [{"step": True}],
    "moe_decoder": [{"step": True}],
    "t5": [DECODER, {"part": "encoder", "memory_for": "decoder"}],
    "tacotron2": [DECODER, {"part": "encoder", "memory_for": "decoder"}, {"part": "postnet"}],
    "transformer": [DECODER, {"part": "decoder"}, {"part": "encoder", "memory_for": "decoder"}],
    "u2pp_conformer": [{"part": "encoder", "step": True}, DECODER, {"part": "reverse_decoder"}],
    "whisper": [DECODER, {"part": "encoder", "memory_for": "decoder"}],
}
"""What beside the whole model is exported."""


def stirred(description: Description, path: Path) -> Path:
    """Write random weights, none of them 0 or 1, which a graph could be simplified by."""
    torch.manual_seed(0)
    model = build(description)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    save_weights(model, path)
    return path


def test_every_template_is_exported_here() -> None:
    assert TINY.keys() == {template.name for template in templates()}


@pytest.mark.parametrize(
    ("name", "form"), [(name, form) for name in TINY for form in [{}, *FORMS.get(name, [])]], ids=str
)
def test_onnx_computes_what_torch_does(name: str, form: dict[str, Any], tmp_path: Path) -> None:
    description = describe(name, **TINY[name])
    export = export_onnx(description, stirred(description, tmp_path / "w.safetensors"), tmp_path / "m.onnx", **form)
    assert all(port.shape[0] == "batch" for port in export.inputs if port.shape and "past" not in port.shape[:1])
    words = {size for port in export.inputs for size in port.shape if isinstance(size, str)}
    if not form:
        assert words == {"batch", *description.dimensions}
