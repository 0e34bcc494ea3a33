"""FT-Transformer: attention between the columns of a table (Gorishniy et al. 2021, arXiv 2106.11959)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.columns import CategoryTokens, NumberTokens
from services.train_svc.engine.architecture.blocks.combine import Part, Product, Repeat, Residual, Sequential
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import ClassToken
from services.train_svc.engine.architecture.blocks.reshape import Select
from services.train_svc.engine.reading import Checked, fault, setting
from services.train_svc.engine.templates.entry import Template


def _size(layers: int, width: int, attention: float, feed: float) -> dict[str, Any]:
    return {"num_layers": layers, "d_model": width, "feed_forward": width * 4 // 3, "attention_dropout": attention,
            "dropout": feed}  # fmt: skip


SIZES: Mapping[str, Mapping[str, Any]] = {
    "1": _size(1, 96, 0.1, 0.0),
    "2": _size(2, 128, 0.15, 0.05),
    "3": {},
    "4": _size(4, 256, 0.25, 0.15),
    "5": _size(5, 320, 0.3, 0.2),
    "6": _size(6, 384, 0.35, 0.25),
}


@dataclass(frozen=True, kw_only=True)
class FtTransformer(Checked):
    """Options of `ft_transformer`; sizes are the authors' defaults by number of layers, of which 3 is the default."""

    numbers: int = setting(8, least=0)
    """Columns of numbers; give them standardised. 0: there is no input `numbers`."""
    cardinalities: tuple[int, ...] = setting((), least=1)
    """How many categories each other column has; none: there is no input `categories`."""
    num_layers: int = setting(3, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(192, least=1)
    """Features of a column."""
    attention_heads: int = setting(8, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(256, least=1)
    """Features inside the feed-forward layers, after the gate: 4/3 of d_model."""
    attention_dropout: float = setting(0.2, least=0, below=1)
    """Share of the attention that is zeroed while training."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values inside the feed-forward layers that is zeroed while training."""
    residual_dropout: float = setting(0.0, least=0, below=1)
    """Share of what each sub-layer adds that is zeroed while training."""
    num_classes: int = setting(1, least=1)
    """Outputs: classes, or 1 for a number."""


def build(options: FtTransformer) -> Description:
    """Return the model: input `numbers` [columns] float32, `categories` [columns] int64, or both."""
    inputs = {}
    if options.numbers:
        inputs["numbers"] = Input(shape=(options.numbers,))
    if options.cardinalities:
        # One bound for all columns: what is drawn below it is a category of each of them.
        below = min(options.cardinalities)
        inputs["categories"] = Input(shape=(len(options.cardinalities),), dtype="int64", below=below)
    if not inputs:
        raise fault("numbers", "got 0 and no cardinalities; a table needs a column")
    body = (
        *_tokens(options),
        ClassToken(init_std=1 / math.sqrt(3 * options.d_model)),
        Sequential(name="first", body=_layer(options, normed=False)),
        *_others(options),
        Select(),
        LayerNorm(name="norm"),
        Relu(),
        Linear(name="scores", out_features=options.num_classes),
    )
    return Description(name="ft_transformer", inputs=inputs, body=(Part(name="model", output="logits", body=body),),
                       outputs=("logits",))  # fmt: skip


def _tokens(options: FtTransformer) -> tuple[Block, ...]:
    numbers = NumberTokens(name="numbers", features=options.d_model)
    if not options.cardinalities:
        return (numbers,)
    after = "categories" if options.numbers else ""
    categories = CategoryTokens(name="categories", cardinalities=options.cardinalities, features=options.d_model,
                                input=after)  # fmt: skip
    return (numbers, categories) if options.numbers else (categories,)


def _others(options: FtTransformer) -> tuple[Block, ...]:
    body = _layer(options, normed=True)
    return (Repeat(name="layers", times=options.num_layers - 1, body=body),) if options.num_layers > 1 else ()


def _layer(options: FtTransformer, *, normed: bool) -> tuple[Block, ...]:
    # The first layer's attention has no norm before it: with one the model is worse (section 3.3).
    norm, drop = LayerNorm(name="norm"), Dropout(rate=options.residual_dropout)
    up = Linear(name="up", out_features=options.feed_forward, split="column")
    gate = (Linear(name="linear", out_features=options.feed_forward, split="column"), Relu())
    attention = Attention(heads=options.attention_heads, dropout=options.attention_dropout)
    feed = (
        norm,
        Product(name="reglu", body=(up,), gate=gate),
        Dropout(name="inner_drop", rate=options.dropout),
        Linear(name="down", out_features=options.d_model, split="row"),
        drop,
    )
    attend = (norm, attention, drop) if normed else (attention, drop)
    return Residual(name="attend", body=attend), Residual(name="feed", body=feed)


TEMPLATE = Template(
    name="ft_transformer",
    title="FT-Transformer",
    domain="tables",
    paper="Gorishniy et al. 2021, arXiv 2106.11959",
    sizes=SIZES,
    options=FtTransformer,
    build=build,
)
