"""Independent implementations of the models that `native_models` measures, each at its fastest published form."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Somebody's model."""

    name: str
    make: Callable[[], nn.Module]
    compiles: bool = True
    """Whether `torch.compile` takes it."""
    mixes: bool = False
    """Whether it has its own way to compute in BF16, instead of torch's autocast."""


def torchvision(name: str) -> Peer:
    """Return a classifier of torchvision's."""
    return Peer(name="torchvision", make=lambda: _model("torchvision.models", name))


def _model(module: str, name: str) -> nn.Module:
    made: nn.Module = getattr(import_module(module), name)()
    return made


def timm(name: str) -> Peer:
    """Return a classifier of timm's."""
    return Peer(name="timm", make=lambda: import_module("timm").create_model(name, num_classes=1000))


def transformers(model: str, config: str, **options: Any) -> Peer:  # noqa: ANN401
    """Return a model of Hugging Face's with fused attention."""

    def make() -> nn.Module:
        library = import_module("transformers")
        settings = getattr(library, config)(attn_implementation="sdpa", use_cache=False, **options)
        made: nn.Module = getattr(library, model)(settings)
        return made

    return Peer(name="transformers", make=make)


def keras_encoder(time: int) -> tuple[Any, Any]:
    """Return input and hidden vectors of BERT-base of Keras's layers, post-norm as published, in mixed bfloat16."""
    keras: Any = import_module("keras")
    layers = keras.layers
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    ids = keras.Input((time,), dtype="int64")
    places = layers.Embedding(512, 768)(keras.ops.arange(time)[None] + 0 * ids)
    x = layers.Embedding(30522, 768)(ids) + places + layers.Embedding(2, 768)(0 * ids)
    x = layers.Dropout(0.1)(layers.LayerNormalization(epsilon=1e-12)(x))
    for _ in range(12):
        attended = layers.MultiHeadAttention(12, 64, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(attended))
        fed = layers.Dense(768)(layers.Dense(3072, activation="gelu")(x))
        x = layers.LayerNormalization(epsilon=1e-12)(x + layers.Dropout(0.1)(fed))
    return ids, x


def keras_bert(time: int) -> nn.Module:
    """Return that encoder with the pooler."""
    keras: Any = import_module("keras")
    ids, x = keras_encoder(time)
    made: nn.Module = keras.Model(ids, [x, keras.layers.Dense(768, activation="tanh")(x[:, 0])])
    return made


LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}
PEERS = {
    "resnet152": (torchvision("resnet152"), timm("resnet152")),
    "vit_b": (torchvision("vit_b_16"), timm("vit_base_patch16_224")),
    "bert_base": (
        transformers("BertModel", "BertConfig"),
        Peer(name="keras", make=lambda: keras_bert(512), compiles=False, mixes=True),
    ),
    "bert_base_32x128": (
        transformers("BertModel", "BertConfig"),
        Peer(name="keras", make=lambda: keras_bert(128), compiles=False, mixes=True),
    ),
    "llama_1b": (transformers("LlamaForCausalLM", "LlamaConfig", **LLAMA),),
}
