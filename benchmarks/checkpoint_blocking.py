"""How much of a checkpoint's duration training is blocked or slowed for: 1 GiB of state on two cores of a CPU.

    python -m benchmarks.checkpoint_blocking [--rounds 7] [--folder /tmp]

A loop of matrix products (one thread, about 50 ms a step) runs without a save and then through one, in turns, for each
way of saving. What a save costs is the time that the loop took beyond as many undisturbed steps; its duration ends when
the bytes are on the disk. Ours hashes what it writes; torch's ways do not. Target: under 5% of the duration. A save
during which other processes computed is measured again.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from torch import distributed
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import async_save

from benchmarks.keep import Row, figure, record
from services.train_svc.engine.checkpointing import CheckpointWriter, HostCopies, Note, RetryPolicy
from services.train_svc.engine.checkpointing.dtypes import Array

STEP_S = 0.05
UNDISTURBED = 20
"""Steps before each save, whose median is what a step takes."""
FOREIGN_SHARE = 0.03
"""Of one core: what other processes may take during a measurement."""
TRIES = 8
SIDE = 1024
MATRICES = 256
OURS = "ours: copied beside the next step"


class Save(Protocol):
    """One save under way."""

    def settle(self) -> None:
        """Wait until the state may change."""

    def ended(self) -> float | None:
        """Return when the bytes were on the disk; None: they are not yet."""


class Loop:
    """Steps of training that need one core and no state of ours."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._matrix = torch.randn(SIDE, SIDE)
        self._products = 1
        self._products = max(1, round(STEP_S / min(self.step() for _ in range(50))))

    def step(self, settle: Callable[[], None] = lambda: None) -> float:
        """Make a step, with `settle` before its update, and return the seconds."""
        began = time.perf_counter()
        product = self._matrix
        for _ in range(self._products):
            product = self._matrix @ self._matrix
        settle()
        self._matrix[0] += 1e-9 * product[0]
        return time.perf_counter() - began


@dataclass
class Told:
    """A CheckpointSink that keeps when each step's checkpoint was written."""

    at: dict[int, float] = field(default_factory=dict)

    def save(self, folder: Path, step: int) -> None:
        """Note the time."""
        self.at[step] = time.perf_counter()


class Ours:
    """The writer of the engine, with one of three ways to copy the state."""

    def __init__(self, state: dict[str, Array], writer: CheckpointWriter, told: Told, copied: str) -> None:
        self._state, self._writer, self._told, self._copied = state, writer, told, copied
        self._copies = HostCopies()
        if copied != "fresh":
            self._copies.reserve(state)
        self._steps = iter(range(10**6))

    def __call__(self) -> "OurSave":
        """Begin a save."""
        step = next(self._steps)
        self._told.at.pop(step, None)
        snapshot = Fresh(self._state) if self._copied == "fresh" else self._copies.begin(self._state)
        if self._copied == "at once":
            snapshot.wait()
        note = Note(step=step, steps_per_epoch=1, spec_digest="", dataset_digest="", engine="torch", engine_version="")
        self._writer.put(snapshot, note)
        return OurSave(snapshot.wait, self._told, step)


class Fresh:
    """A Snapshot in memory of its own, made at once."""

    def __init__(self, state: dict[str, Array]) -> None:
        self._copy = {name: np.copy(array) for name, array in state.items()}

    def tensors(self) -> dict[str, Array]:
        """Return the copies."""
        return self._copy

    def wait(self) -> None:
        """Do nothing."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all."""
        return sum(array.nbytes for array in self._copy.values())


class OurSave:
    """A save by our writer. It holds no snapshot, whose memory shall be free once it is written."""

    def __init__(self, wait: Callable[[], None], told: Told, step: int) -> None:
        self._wait: Callable[[], None] | None = wait
        self._told, self._step = told, step

    def settle(self) -> None:
        """Wait for the copy."""
        if self._wait:
            self._wait()
        self._wait = None

    def ended(self) -> float | None:
        """Return when it was written."""
        return self._told.at.get(self._step)


class Torch:
    """`torch.distributed.checkpoint.async_save`, which stages a copy and writes in a thread."""

    def __init__(self, state: dict[str, Array], root: Path) -> None:
        self._state: dict[str, Any] = {name: torch.from_numpy(array) for name, array in state.items()}
        self._root = root

    def __call__(self) -> "TorchSave":
        """Begin a save."""
        shutil.rmtree(self._root, ignore_errors=True)
        return TorchSave(async_save(self._state, storage_writer=FileSystemWriter(self._root)))


class TorchSave:
    """A save by torch."""

    def __init__(self, future: Any) -> None:  # noqa: ANN401 - a Future, or what holds two
        self._ended: float | None = None
        written = getattr(future, "upload_completion", future)
        written.add_done_callback(self._end)

    def settle(self) -> None:
        """Do nothing: it copied before it returned."""

    def ended(self) -> float | None:
        """Return when it was written."""
        return self._ended

    def _end(self, _: object) -> None:
        self._ended = time.perf_counter()


class Synchronous:
    """`torch.save` and fsync, while training waits."""

    def __init__(self, state: dict[str, Array], path: Path) -> None:
        self._state = {name: torch.from_numpy(array) for name, array in state.items()}
        self._path = path

    def __call__(self) -> "Synchronous":
        """Save."""
        with self._path.open("wb") as file:
            torch.save(self._state, file)
            file.flush()
            os.fsync(file.fileno())
        self._at = time.perf_counter()
        return self

    def settle(self) -> None:
        """Do nothing."""

    def ended(self) -> float | None:
        """Return when it was written."""
        return self._at


Way = Callable[[], Save]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measured(Path(folder), options.rounds)
    rows = [summed(what, saves) for what, saves in found.items()]
    shares = {str(row["what"]): row["share_percent"] for row in rows}
    peer = f"{shares['torch: async_save']:.3g} % (torch's async_save)"
    record(
        "checkpoint_blocking",
        rows,
        [figure("of a 1 GiB save's duration, training is held up", shares[OURS], "%", under=5, peer=peer)],
    )


def measured(root: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the saves of each way, the first of each apart from the rest in front."""
    random = np.random.default_rng(0)
    state = {f"model/{index}.weight": random.random((SIDE, SIDE), dtype=np.float32) for index in range(MATRICES)}
    state |= {f"model/{index}.bias": random.random(SIDE, dtype=np.float32) for index in range(MATRICES)}
    distributed.init_process_group("gloo", init_method=f"file://{root}/rendezvous", rank=0, world_size=1)
    loop, told = Loop(), Told()
    with CheckpointWriter(root / "ours", told, RetryPolicy()) as writer:
        ways: dict[str, Way] = {
            OURS: Ours(state, writer, told, "beside"),
            "ours: copied at once": Ours(state, writer, told, "at once"),
            "ours: np.copy": Ours(state, writer, told, "fresh"),
            "torch: async_save": Torch(state, root / "torch"),
            "torch: save and fsync": Synchronous(state, root / "torch.pt"),
        }
        found: dict[str, list[dict[str, float]]] = {what: [] for what in ways}
        for _ in range(rounds + 1):
            for what, way in ways.items():
                found[what].append(undisturbed(loop, way))
    distributed.destroy_process_group()
    return found


def undisturbed(loop: Loop, way: Way) -> dict[str, float]:
    """Return the first measurement that no other process disturbed, or the last of several."""
    for _ in range(TRIES):
        os.sync()
        wait_for_quiet()
        foreign_s, began = foreign_work_s(), time.perf_counter()
        found = through_one_save(loop, way)
        found["disturbed"] = foreign_work_s() - foreign_s > FOREIGN_SHARE * (time.perf_counter() - began)
        if not found["disturbed"]:
            break
    return found


def wait_for_quiet(longest_s: float = 60.0) -> None:
    """Return once other processes rest, or after the longest wait."""
    began = time.perf_counter()
    while time.perf_counter() - began < longest_s:
        before = foreign_work_s()
        time.sleep(1)
        if foreign_work_s() - before <= FOREIGN_SHARE:
            return


def foreign_work_s() -> float:
    """Return the seconds that all other processes ever computed; the kernel's work, which may be for us, left out."""
    everyone, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return float(everyone.user + everyone.nice - own.user)


def through_one_save(loop: Loop, way: Way) -> dict[str, float]:
    """Return what a save costs the loop, in seconds."""
    each_s = statistics.median(loop.step() for _ in range(UNDISTURBED))
    began = time.perf_counter()
    save = way()
    taken_s = time.perf_counter() - began
    steps = [loop.step(save.settle)] if save.ended() is None else []
    while save.ended() is None:
        steps.append(loop.step())
    lost_s = taken_s + sum(steps) - each_s * len(steps)
    save_s = (save.ended() or 0) - began
    return {"step_s": each_s, "taken_s": taken_s, "lost_s": lost_s, "save_s": save_s, "share": lost_s / save_s}


def summed(what: str, saves: list[dict[str, float]]) -> Row:
    """Return medians of the saves after the first, whose memory is fresh."""
    first, rest = saves[0], saves[1:]
    middle = {name: statistics.median(save[name] for save in rest) for name in first}
    shown = {name: round(middle[name], 4) for name in ("step_s", "save_s", "taken_s", "lost_s")}
    spread = sorted(round(100 * save["share"], 1) for save in rest)
    return {
        "what": what,
        **shown,
        "share_percent": round(100 * middle["share"], 2),
        "least_most_percent": f"{spread[0]} to {spread[-1]}",
        "first_lost_s": round(first["lost_s"], 3),
        "disturbed": int(sum(save["disturbed"] for save in rest)),
    }


if __name__ == "__main__":
    main()
