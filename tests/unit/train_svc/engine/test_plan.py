"""What the tree says of sharding, cutting, recomputing and rounding."""

from services.train_svc.engine.plan import plan
from services.train_svc.engine.templates import describe

TWO = plan(describe("bert", num_layers=2, head="pretraining"))


def test_attention_and_feed_forward_split_by_column_then_row() -> None:
    first = {name: how for name, how in TWO.tensor_parallel.items() if name.startswith("encoder.layers.0.")}
    attention, feed = "encoder.layers.0.attend.body.attention", "encoder.layers.0.feed.body"
    columns = [f"{attention}.query", f"{attention}.key", f"{attention}.value", f"{feed}.up"]
    assert first == dict.fromkeys(columns, "column") | {f"{attention}.output": "row", f"{feed}.down": "row"}


def test_layers_are_where_a_pipeline_is_cut_and_what_is_recomputed() -> None:
    assert TWO.units[:2] == ["encoder.layers.0", "encoder.layers.1"]
    convolutional = plan(describe("resnet", size="18")).units
    assert convolutional[:3] == ["stem", "stage0.block0", "stage0.block1"]
    assert len(convolutional) == 9


def test_norms_embeddings_and_outlets_are_sensitive() -> None:
    assert {"encoder.tokens", "encoder.norm", "encoder.layers.1.feed_norm", "relation.linear"} <= set(TWO.sensitive)
    assert not any(name.endswith((".up", ".down", ".query", "attention.output")) for name in TWO.sensitive)
    assert "classifier" in plan(describe("resnet_small")).sensitive
