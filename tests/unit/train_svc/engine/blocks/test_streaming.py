from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.convolution import Conv1d, FrameConv2d
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.positions import Rope
from services.train_svc.engine.architecture.blocks.relative import RelativeAttention
from services.train_svc.engine.architecture.blocks.streaming import Streaming
from services.train_svc.engine.building import build
from services.train_svc.engine.context import Context
from tests.unit.train_svc.engine.parity import check_outputs, check_parity, close, pair
from tests.unit.train_svc.engine.streams import check_stream, steps

ATTENTIONS: list[Block] = [
    RelativeAttention(heads=2),
    Attention(heads=2),
    Attention(heads=2, kv_heads=1, rope=Rope()),
]
CHUNK = 3


def described(
    *front: Block, attention: Block = ATTENTIONS[0], left: int = 2, layers: int = 2, **options: Any
) -> Description:
    layer = (Residual(name="attend", body=(attention,)), Conv1d(out_features=8, kernel_size=4, causal=True))
    stream = Streaming(chunk_size=CHUNK, left_chunks=left, body=(Repeat(times=layers, body=layer),), **options)
    return Description(
        name="stream",
        inputs={"frames": Input(shape=("time", 8)), "lengths": Input(shape=(), dtype="int64", lengths_of="frames")},
        typical={"time": 24},
        body=(Part(name="encoder", input="frames", lengths="lengths", body=(*front, stream)),),
    )


SUBSAMPLING = (
    FrameConv2d(name="first", out_channels=3, bands=8, padding=0, causal=True, mask_padding=True),
    Relu(),
    FrameConv2d(name="second", out_channels=3, bands=3, padding=0, causal=True, mask_padding=True),
    Conv1d(name="third", out_features=8, kernel_size=5, stride=2, causal=True, mask_padding=True),
)


@pytest.mark.parametrize("left", [0, 2, -1])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_chunk_by_chunk_it_gives_what_the_whole_recording_gives(attention: Block, left: int, tmp_path: Path) -> None:
    check_stream(described(attention=attention, left=left), tmp_path, frames=CHUNK, time=5 * CHUNK + 1)


@pytest.mark.parametrize("left", [0, 2, -1])
def test_several_chunks_may_come_at_once(left: int, tmp_path: Path) -> None:
    check_stream(described(left=left), tmp_path, frames=2 * CHUNK, time=7 * CHUNK)


@pytest.mark.parametrize("left", [0, 2, -1])
def test_strided_convolutions_in_front_carry_their_frames(left: int, tmp_path: Path) -> None:
    stream = described(*SUBSAMPLING, left=left, layers=1)
    check_stream(stream, tmp_path, frames=8 * CHUNK, time=4 * 8 * CHUNK + 8, compiled=left == 2)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_both_engines_agree(attention: Block, tmp_path: Path) -> None:
    check_parity(described(*SUBSAMPLING, attention=attention, left=1), tmp_path, time=90)


def test_a_frame_sees_its_chunk_and_those_on_the_left_alone() -> None:
    for left in (0, 1, -1):
        model = build(described(left=left))
        x = torch.randn(1, 11, 8, requires_grad=True)
        attend = model.encoder.streaming.repeat.get_submodule("0.attend.body.relative_attention")
        context = Context({})
        context.chunk = (CHUNK, left)
        attended = attend(x, context)
        for i in range(11):
            (gradient,) = torch.autograd.grad(attended[0, i].sum(), x, retain_graph=True)
            seen = [j for j in range(11) if gradient[0, j].abs().max() > 0]
            first = 0 if left < 0 else max((i // CHUNK - left) * CHUNK, 0)
            assert seen == list(range(first, min((i // CHUNK + 1) * CHUNK, 11)))


def test_padding_does_not_reach_what_is_real() -> None:
    model = build(described(*SUBSAMPLING, left=1)).eval()
    frames = torch.randn(2, 96, 8)
    padded = model(frames, torch.tensor([96, 50]))
    close(padded[1, :6].detach(), model(frames[1:, :50])[0].detach(), "a padded sample")


@pytest.mark.parametrize("left", [0, 2, -1])
@pytest.mark.parametrize("attention", ATTENTIONS[:2])
def test_streams_side_by_side_may_end_apart(attention: Block, left: int, tmp_path: Path) -> None:
    model, other = pair(described(*SUBSAMPLING, attention=attention, left=left), tmp_path)
    x = torch.randn(2, 2 * 8 * CHUNK, 8)
    wanted = model.eval()(x[1:, : 8 * CHUNK + 8]).detach()
    for engine, frames in ((model, x), (other, x.numpy())):
        state = engine.initial_state(2)
        step = {"frames": frames[:, : 8 * CHUNK], "lengths": np.array([8 * CHUNK, 8 * CHUNK])}
        last = {"frames": frames[:, 8 * CHUNK :], "lengths": np.array([8 * CHUNK, 8])}
        got = []
        for given in (step, last):
            if engine is model:
                result, state = engine.step(state, given["frames"], lengths=torch.from_numpy(given["lengths"]))
            else:
                result, state = engine.step(state, given)
            got.append(result.detach().numpy() if engine is model else np.asarray(result))
        close(np.concatenate(got, 1)[1:, : CHUNK + 1], wanted, "the shorter stream")


@pytest.mark.parametrize("dynamic_left", [False, True])
def test_dynamic_chunks_are_drawn_in_training_alone_and_compile(dynamic_left: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    description = described(dynamic=True, dynamic_left=dynamic_left)
    model, other = pair(description, tmp_path)
    x = np.random.default_rng(0).standard_normal((1, 60, 8)).astype(np.float32)
    check_outputs(model, other, {"frames": x})
    model.train()
    whole = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    traced = tf.function(lambda given: other(given, training=True))
    for call in (model, whole):
        found = {float(call(torch.from_numpy(x))[0, 0, 0].detach()) for _ in range(12)}
        assert len(found) > 1
    assert len({float(traced(x)[0, 0, 0]) for _ in range(12)}) > 1


def test_drawn_chunks_are_the_whole_or_at_most_25() -> None:
    block = build(described(dynamic=True)).encoder.streaming.train()
    draws = [block._chunk(torch.zeros(1, 60, 8), Context({})) for _ in range(400)]
    sizes = {int(size) for size, _ in draws}
    assert max(sizes - {60}) <= 25
    assert min(sizes) == 1
    assert 0.4 < sum(int(size) == 60 for size, _ in draws) / 400 < 0.6
    assert {left for _, left in draws} == {-1}
    assert block._chunk(torch.zeros(1, 60, 8), Context({}, state={})) == (CHUNK, 2)
    assert block.eval()._chunk(torch.zeros(1, 60, 8), Context({})) == (CHUNK, 2)


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        (Conv1d(out_features=8), "conv1d 'encoder.streaming.conv1d' sees later frames.*set causal: true"),
        (Conv1d(out_features=8, stride=2, causal=True), "changes the time; put it before `streaming`"),
        (Attention(heads=2, causal=True), "take causal and window away"),
        (Streaming(chunk_size=2), "inside another `streaming`"),
    ],
)
def test_blocks_that_a_stream_cannot_run_are_named_with_the_cure(block: Block, fault: str) -> None:
    with pytest.raises(InvalidError, match=fault):
        Description(
            name="stream",
            inputs={"frames": Input(shape=("time", 8))},
            body=(Part(name="encoder", body=(Streaming(chunk_size=2, body=(block,)),)),),
        )


class Step(torch.nn.Module):
    """One step with its state as tensors in a row, which is what a graph can have."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, frames: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result, after = self.model.step(dict(zip(self.names, state, strict=True)), frames)
        return result, *(after[name] for name in self.names)


@pytest.mark.parametrize("left", [0, 2, -1])
def test_onnx_runtime_streams_as_torch_does(left: int, tmp_path: Path) -> None:
    model = build(described(*SUBSAMPLING, Linear(out_features=8), left=left)).eval()
    start = model.initial_state(2)
    frames, names = torch.randn(2, 5 * 8 * CHUNK, 8), list(start)
    batch, past = torch.export.Dim("batch"), torch.export.Dim.DYNAMIC
    step, first = Step(model, names).eval(), frames[:, : 8 * CHUNK]
    with torch.no_grad():
        _, *example = step(first, *start.values())
    shapes = tuple({0: batch, 2: past} if left < 0 and "past" in name else {0: batch} for name in names)
    inputs, outputs = ["frames", *names], ["out", *(f"{name}.next" for name in names)]
    with torch.no_grad():
        program = torch.onnx.export(
            step, (first, *example), dynamo=True, dynamic_shapes=({0: batch, 1: past}, shapes), input_names=inputs,
            output_names=outputs, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "step.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx", providers=["CPUExecutionProvider"])
    state, got = {name: tensor.numpy() for name, tensor in start.items()}, []
    for begin in range(0, frames.shape[1], 8 * CHUNK):
        chunk = frames[:, begin : begin + 8 * CHUNK].numpy()
        result, *after = session.run(outputs, {"frames": chunk, **state})
        state = dict(zip(names, after, strict=True))
        got.append(result)
    with torch.no_grad():
        wanted = list(steps(model.step, start, frames, 8 * CHUNK))
        for index, (ours, torchs) in enumerate(zip(got, wanted, strict=True)):
            close(ours, torchs, f"chunk {index}", 1e-5)
        close(np.concatenate(got, 1), model(frames), "the whole recording")
