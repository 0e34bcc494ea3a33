"""Other people's training of BERT-base with its masked-language-model head, for `bert_step`."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch

from benchmarks.peers import keras_encoder

Batches = list[tuple[np.ndarray, np.ndarray]]
Timed = tuple[list[float], float]
STEPS, WARM = 24, 24
LR, CLIP = 1e-4, 1.0


def bert() -> Any:  # noqa: ANN401 - Hugging Face's
    """Return Hugging Face's model with fused attention."""
    library = import_module("transformers")
    return library.BertForMaskedLM(library.BertConfig(attn_implementation="sdpa"))


def plain(*, tf32: bool = False, mixed: bool = False, compiled: bool = False) -> Callable[[Batches, int], Timed]:
    """Return a plain loop of PyTorch."""

    def run(data: Batches, rounds: int) -> Timed:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        model = bert().cuda().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=True)
        if compiled:
            model.compile()

        def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
            with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
                loss = model(input_ids=batch[0], labels=batch[1]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()

        return timed(step, moved(data), rounds)

    return run


def hugging_face_trainer(data: Batches, rounds: int) -> Timed:
    """Return what Hugging Face's Trainer takes, in bf16 and compiled."""
    library = import_module("transformers")
    times: list[float] = []
    count = WARM + (rounds + 1) * STEPS

    class Clock(library.TrainerCallback):  # type: ignore[misc, name-defined]  # Hugging Face's
        began = 0.0

        def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
            if state.global_step >= WARM and (state.global_step - WARM) % STEPS == 0:
                torch.cuda.synchronize()
                now = time.perf_counter()
                if self.began:
                    times.append((now - self.began) * 1000 / STEPS)
                self.began = now

    rows = [
        {"input_ids": torch.from_numpy(ids[row]), "labels": torch.from_numpy(labels[row])}
        for ids, labels in itertools.islice(itertools.cycle(data), count)
        for row in range(len(ids))
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = library.TrainingArguments(
            folder,
            bf16=True,
            torch_compile=True,
            max_steps=count,
            per_device_train_batch_size=len(data[0][0]),
            learning_rate=LR,
            max_grad_norm=CLIP,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to="none",
            logging_steps=10,
        )
        model = bert()
        library.Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    return times[:rounds], torch.cuda.max_memory_allocated() / 2**20


def keras(data: Batches, rounds: int) -> Timed:
    """Return what Keras's own `train_on_batch` takes on torch, in mixed bfloat16."""
    library: Any = import_module("keras")
    layers = library.layers
    ids, x = keras_encoder(data[0][0].shape[1])
    x = layers.LayerNormalization(epsilon=1e-12)(layers.Dense(768, activation="gelu")(x))
    model = library.Model(ids, layers.Dense(30522, dtype="float32")(x))
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    model.compile(optimizer=library.optimizers.AdamW(LR, global_clipnorm=CLIP), loss=loss)
    return timed(lambda batch: model.train_on_batch(*batch), moved(data), rounds)


def moved(data: Batches) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batches on the GPU, again and again."""
    for ids, labels in itertools.cycle(data):
        yield torch.from_numpy(ids).cuda(), torch.from_numpy(labels).cuda()


def timed(step: Callable[[Any], Any], data: Iterator[Any], rounds: int) -> Timed:
    """Return milliseconds a step by rounds, and MiB at the peak, of a plain loop."""
    times = []
    for number in range(rounds + 1):
        torch.cuda.synchronize()
        began, count = time.perf_counter(), STEPS if number else WARM
        for _ in range(count):
            step(next(data))
        torch.cuda.synchronize()
        times.append((time.perf_counter() - began) * 1000 / count)
    return times[1:], torch.cuda.max_memory_allocated() / 2**20


PEERS: dict[str, Callable[[Batches, int], Timed]] = {
    "fp32": plain(),
    "tf32": plain(tf32=True),
    "amp bf16": plain(tf32=True, mixed=True),
    "amp bf16 compiled": plain(tf32=True, mixed=True, compiled=True),
    "hugging face trainer": hugging_face_trainer,
    "keras": keras,
}
