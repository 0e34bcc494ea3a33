import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity, close, on_torch, pair

SMALL: dict[str, Any] = {"vocab_size": 50, "num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 24}
SMALL |= {"dropout": 0.0}
EMBEDDINGS = 37000 * 512
PUBLISHED = {"attend": "self_attn", "cross": "multihead_attn"}


def test_the_base_sizes_parameter_count_without_embeddings() -> None:
    assert describe("transformer", size="base").root.parameter_count - EMBEDDINGS == 44_140_544


def test_without_the_final_norms_it_has_as_many_parameters_as_the_paper_says() -> None:
    # Table 3 gives 65 and 213 million, with a vocabulary of "about 37000" tokens.
    for size, millions in (("base", 65), ("big", 213)):
        count = describe("transformer", size=size, final_norm=False).root.parameter_count
        assert abs(count / 1e6 - millions) / millions < 0.03


@pytest.mark.parametrize("norm_first", [False, True])
def test_both_engines_agree(norm_first: bool, tmp_path: Path) -> None:
    check_parity(describe("transformer", **SMALL, norm_first=norm_first), tmp_path, source=9, target=7)


def test_the_decoder_runs_as_a_loop(tmp_path: Path) -> None:
    check_decoding(describe("transformer", **SMALL), tmp_path, part="decoder", source=9, target=12)


def torch_names(ours: dict[str, torch.Tensor], norm_first: bool) -> dict[str, torch.Tensor]:
    """Return the weights of our layers under the names of `torch.nn.Transformer`."""
    result = {f"{part}.norm.{kind}": ours[f"{part}.norm.{kind}"]
              for part in ("encoder", "decoder") for kind in ("weight", "bias")}  # fmt: skip
    for part, layer, kind in ((p, i, k) for p in ("encoder", "decoder") for i in range(2) for k in ("weight", "bias")):
        here, there = f"{part}.layers.{layer}", f"{part}.layers.{layer}"
        names = [name for name in ("attend", "cross", "feed") if f"{here}.{name}.body.norm.weight" in ours
                 or f"{here}.{name}_norm.weight" in ours]  # fmt: skip
        for place, name in enumerate(names, 1):
            norm = f"{here}.{name}.body.norm" if norm_first else f"{here}.{name}_norm"
            result[f"{there}.norm{place}.{kind}"] = ours[f"{norm}.{kind}"]
            if name in PUBLISHED:
                attention = f"{here}.{name}.body.attention"
                three = [ours[f"{attention}.{each}.{kind}"] for each in ("query", "key", "value")]
                result[f"{there}.{PUBLISHED[name]}.in_proj_{kind}"] = torch.cat(three)
                result[f"{there}.{PUBLISHED[name]}.out_proj.{kind}"] = ours[f"{attention}.output.{kind}"]
        result[f"{there}.linear1.{kind}"] = ours[f"{here}.feed.body.up.{kind}"]
        result[f"{there}.linear2.{kind}"] = ours[f"{here}.feed.body.down.{kind}"]
    return result


def placed(vectors: torch.Tensor) -> torch.Tensor:
    """Return sqrt(d) x + PE, PE by the paper's section 3.5, number by number."""
    time, wide = vectors.shape[1:]
    waves = np.zeros((time, wide), np.float32)
    for place, i in np.ndindex(time, wide // 2):
        angle = place / 10000 ** (2 * i / wide)
        waves[place, 2 * i], waves[place, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return vectors * math.sqrt(wide) + torch.from_numpy(waves)


@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_transformer_with_the_same_weights_gives_the_same(norm_first: bool, tmp_path: Path) -> None:
    model, other = pair(describe("transformer", **SMALL, norm_first=norm_first), tmp_path)
    ours = model.state_dict()
    published = nn.Transformer(16, 4, 2, 2, 24, dropout=0.0, batch_first=True, norm_first=norm_first).eval()
    published.load_state_dict(torch_names(ours, norm_first))
    inputs = sample_inputs(model.description, sizes={"source": 9, "target": 7})
    given, matrix = on_torch(inputs), ours["encoder.tokens.weight"]
    with torch.no_grad():
        hidden = published(
            placed(matrix[given["sources"]]),
            placed(matrix[given["targets"]]),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(7),
            tgt_is_causal=True,
            src_key_padding_mask=torch.where(given["source_mask"], 0.0, -torch.inf),
            memory_key_padding_mask=torch.where(given["source_mask"], 0.0, -torch.inf),
        )
        close(model.eval()(**given), hidden @ matrix.T, "torch")
    close(other(inputs), hidden @ matrix.T, "TensorFlow")
