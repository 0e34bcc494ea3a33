import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity, close, pair
from tests.unit.train_svc.engine.streams import check_stream

CHUNK, REDUCTION = 3, 4


def small(left: int = 2, **encoder: Any) -> Description:
    return describe(
        "U2++ Conformer",
        features=12,
        dropout=0.0,
        encoder={"num_layers": 2, "d_model": 8, "attention_heads": 2, "feed_forward": 16, "kernel_size": 4,
                 "chunk_size": CHUNK, "left_chunks": left, "dynamic": False, **encoder},
        decoder={"vocab_size": 11, "num_layers": 2, "reverse_layers": 1, "attention_heads": 2, "feed_forward": 16},
    )  # fmt: skip


def test_published_parameter_count() -> None:
    # Layer by layer from the paper's figures: 12 x 256, 4 heads, feed-forward 2048, kernel 8, 3 + 3 decoder layers.
    wide, inner, words = 256, 2048, 4233
    norm, feed = 2 * wide, 2 * wide * inner + inner + wide
    attend, relative = 4 * wide**2 + 4 * wide, wide**2 + 2 * wide
    convolve = 3 * wide**2 + 3 * wide + 9 * wide + norm
    layer = 2 * feed + attend + relative + convolve + 5 * norm
    front = 10 * wide + 9 * wide**2 + wide + 19 * wide**2 + wide
    scores = words * wide + words
    decoder = words * wide + 3 * (2 * attend + feed + 3 * norm) + norm + scores
    count = describe("u2pp_conformer", size="base").root.parameter_count
    assert count == front + 12 * layer + norm + scores + 2 * decoder == 48_347_803


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(small(), tmp_path, time=70, labels=4)


def test_without_decoders_it_is_a_streaming_ctc_encoder() -> None:
    description = describe("u2pp_conformer", decoder={"num_layers": 0, "reverse_layers": 0})
    assert list(description.inputs) == ["features", "lengths"]
    assert description.output_shapes == {"ctc": (None, 4233)}


@pytest.mark.parametrize("left", [0, 2, -1])
def test_the_encoder_streams_as_it_hears_the_whole(left: int, tmp_path: Path) -> None:
    frames = REDUCTION * CHUNK
    check_stream(small(left), tmp_path, frames=frames, time=5 * frames + 8, part="encoder", output="encoded")


@pytest.mark.parametrize("part", ["decoder", "reverse_decoder"])
def test_each_decoder_runs_alone(part: str, tmp_path: Path) -> None:
    check_decoding(small(), tmp_path, part, time=40, labels=9)


def test_hypotheses_are_scored_at_once_after_a_stream(tmp_path: Path) -> None:
    model, other = pair(small(), tmp_path)
    x, words = np.random.default_rng(0).standard_normal((1, 48, 12)).astype(np.float32), np.array([[1, 5, 6, 7]])
    backwards = np.array([[1, 7, 6, 5]])
    with torch.no_grad():
        wanted = model.eval()(features=torch.from_numpy(x), targets=torch.from_numpy(words),
                              reverse_targets=torch.from_numpy(backwards))  # fmt: skip
        encoded = model.encode(torch.from_numpy(x))["encoded"]
        scores, _ = model.step({}, encoded, part="ctc")
        close(scores, wanted["ctc"], "ctc")
        for part, given, output in (("decoder", words, "logits"), ("reverse_decoder", backwards, "reverse_logits")):
            state = model.initial_state(1, part=part, encoded=encoded)
            close(model.step(state, torch.from_numpy(given), part=part)[0], wanted[output], f"torch's {part}")
            held = other.initial_state(1, part=part, encoded=encoded.numpy())
            close(other.step(held, given, part=part)[0], wanted[output], f"TensorFlow's {part}")


def test_decoders_are_torchs_own(tmp_path: Path) -> None:
    model, _ = pair(small(), tmp_path)
    model.eval()
    layer = nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    published, decoder = nn.TransformerDecoder(layer, 2, nn.LayerNorm(8)).eval(), model.decoder
    names = {"self_attn": "attend", "multihead_attn": "cross"}
    norms = {"norm1": "attend", "norm2": "cross", "norm3": "feed"}
    for ours, theirs in zip(decoder.layers.children(), published.layers, strict=True):
        for name, block in names.items():
            own, attention = ours.get_submodule(f"{block}.body.attention"), getattr(theirs, name)
            three = (own.query, own.key, own.value)
            attention.in_proj_weight.data = torch.cat([each.weight.data for each in three])
            attention.in_proj_bias.data = torch.cat([each.bias.data for each in three])
            attention.out_proj.load_state_dict(own.output.state_dict())
        for name, block in norms.items():
            getattr(theirs, name).load_state_dict(ours.get_submodule(f"{block}.body.norm").state_dict())
        theirs.linear1.load_state_dict(ours.feed.body.up.state_dict())
        theirs.linear2.load_state_dict(ours.feed.body.down.state_dict())
    assert published.norm is not None
    published.norm.load_state_dict(decoder.norm.state_dict())
    words, features = torch.tensor([[1, 5, 6, 7]]), torch.randn(1, 48, 12)
    places = torch.arange(4)[:, None] * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    waves = torch.stack((places.sin(), places.cos()), -1).flatten(1)
    with torch.no_grad():
        tokens = functional.embedding(words, decoder.tokens.weight) * math.sqrt(8) + waves
        order = nn.Transformer.generate_square_subsequent_mask(4)
        wanted = decoder.scores(published(tokens, model.encode(features)["encoded"], tgt_mask=order))
        got = model(features=features, targets=words, reverse_targets=words)["logits"]
        close(got, wanted, "logits")


def test_chunks_are_drawn_while_training() -> None:
    model = build(small(dynamic=True))
    features, words = torch.randn(1, 240, 12), torch.tensor([[1, 2]])
    given = {"features": features, "targets": words, "reverse_targets": words}
    assert len({float(model(**given)["ctc"][0, 0, 0].detach()) for _ in range(12)}) > 1
    model.eval()
    assert len({float(model(**given)["ctc"][0, 0, 0].detach()) for _ in range(3)}) == 1
