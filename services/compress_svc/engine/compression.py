"""All variants of a recipe, made and measured one after another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError, ModelwrightError
from services.compress_svc.engine import fp16, int8
from services.compress_svc.engine.calibration import Batches, Observations, observe, replay
from services.compress_svc.engine.card import Figures, Verdict, judge, report_card
from services.compress_svc.engine.evaluation import Evaluation, correctness, deviation
from services.compress_svc.engine.graph import Array, Feeds, Session
from services.compress_svc.engine.latency import Race, race
from services.compress_svc.engine.progress import Stopped, Watch
from services.compress_svc.engine.recipe import Recipe, VariantRecipe
from services.compress_svc.engine.statistics import paired_drop, proportion

MADE, ANSWERED, EVALUATED = 0.4, 0.5, 0.7
"""Shares of a variant's time at which its model exists, its golden inputs are replayed, its accuracy is known."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The model to compress."""

    model: bytes
    """The ONNX file."""
    golden_inputs: Feeds
    """Recorded inputs, batch first; the first sample also serves to measure latency."""
    golden_outputs: Mapping[str, Array] = field(default_factory=dict)
    """Recorded outputs; empty: what the model itself answers."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A variant that was made and measured, or what kept it from that."""

    recipe: VariantRecipe
    model: bytes = field(default=b"", repr=False)
    """The ONNX file; empty if it failed."""
    golden_outputs: Mapping[str, Array] = field(default_factory=dict, repr=False)
    """The variant's own answers to the parent's golden inputs."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The measured part of `card.json`."""
    verdict: Verdict
    failed: bool = False


class Compressor:
    """Makes the children of one parent; what they share (calibration, the parent's answers) is found once.

    Args:
        parent: the model with its golden inputs.
        recipe: what to make and how to measure.
        calibration: training samples, batch first, without labels; needed for int8 alone.
        evaluation: labelled test samples; without any, accuracy is left out of the cards.
        split: name of the split that `evaluation` comes from.
    """

    def __init__(
        self,
        parent: Parent,
        recipe: Recipe,
        *,
        calibration: Batches = (),
        evaluation: Evaluation = (),
        split: str = "test",
    ) -> None:
        self._parent, self._recipe, self._split = parent, recipe, split
        self._calibration, self._evaluation = calibration, evaluation
        self._session = Session(parent.model, recipe.threads)
        self._expected = parent.golden_outputs or self._session.run(parent.golden_inputs)
        self._right: NDArray[np.bool_] | None = None
        self._observed: dict[int, Observations] = {}

    def run(self, watch: Watch | None = None, done: frozenset[str] = frozenset()) -> Iterator[Outcome]:
        """Yield each variant once it is measured; those named in `done` are passed over.

        A variant that cannot be made is yielded as failed with the reason, and the next is begun.

        Raises:
            Stopped: the watch asked to leave off.
        """
        watch = watch or Watch()
        wanted = [variant for variant in self._recipe.variants if variant.name not in done]
        for place, variant in enumerate(wanted):
            part = watch.part(place / len(wanted), 1 / len(wanted))
            try:
                yield self.make(variant, part)
            except Stopped:
                raise
            except (
                ModelwrightError,
                ValueError,
                RuntimeError,
                KeyError,
                TypeError,
                AssertionError,
                MemoryError,
            ) as error:
                # What the quantiser and the converter raise on graphs that they do not know.
                yield _failure(variant, error)
        watch.say(1.0, "all variants are measured")

    def make(self, variant: VariantRecipe, watch: Watch) -> Outcome:
        """Make and measure one variant; whatever fails is raised."""
        watch.say(0.0, f"{variant.name}: making")
        model = self._convert(variant, watch.part(0.0, MADE))
        figures, answers = self.measure(variant.name, model, watch, baseline=variant.kind == "fp32")
        verdict = judge(figures, self._recipe.max_accuracy_drop)
        watch.say(1.0, f"{variant.name}: {verdict.reason}")
        card = report_card(figures, verdict)
        return Outcome(recipe=variant, model=model, golden_outputs=answers, card=card, verdict=verdict)

    def measure(
        self, name: str, model: bytes, watch: Watch, *, baseline: bool = False
    ) -> tuple[Figures, Mapping[str, Array]]:
        """Return the figures of a model beside its parent's, and its answers to the golden inputs."""
        session = Session(model, self._recipe.threads)
        watch.say(MADE, f"{name}: replaying golden inputs")
        answers = session.run(self._parent.golden_inputs)
        strayed = deviation(self._expected, answers)
        watch.say(ANSWERED, f"{name}: measuring accuracy")
        parent_right = self._parent_right(watch)
        right = parent_right if baseline else correctness(session, self._batches(), watch)
        watch.say(EVALUATED, f"{name}: measuring latency")
        figures = Figures(
            variant=name,
            size_bytes=len(model),
            parent_size_bytes=len(self._parent.model),
            deviation=strayed,
            race=self._race(session, watch),
            baseline=baseline,
            accuracy=proportion(int(right.sum()), len(right)) if len(right) else None,
            parent_accuracy=proportion(int(parent_right.sum()), len(right)) if len(right) else None,
            accuracy_drop=paired_drop(parent_right, right) if len(right) else None,
            samples=len(right),
            split=self._split,
        )
        return figures, answers

    def _convert(self, variant: VariantRecipe, watch: Watch) -> bytes:
        if variant.kind == "fp32":
            return self._parent.model
        if variant.kind == "fp16":
            return fp16.to_half(self._parent.model)
        proto, tensors = int8.prepare(self._parent.model)
        samples = variant.calibration_samples
        if samples not in self._observed:
            batches = lambda: first_samples(replay(self._calibration), samples)  # noqa: E731 - a fresh pass each time
            self._observed[samples] = observe(proto, tensors, batches, watch)
        ranges = self._observed[samples].ranges(variant.calibration, variant.percentile)
        return int8.rewrite(proto, ranges, variant)

    def _batches(self) -> Evaluation:
        limit = self._recipe.evaluation_samples
        if not limit:
            return self._evaluation
        source = self._evaluation() if callable(self._evaluation) else self._evaluation
        return _first_labelled(source, limit)

    def _parent_right(self, watch: Watch) -> NDArray[np.bool_]:
        if self._right is None:
            self._right = correctness(self._session, self._batches(), watch)
        return self._right

    def _race(self, session: Session, watch: Watch) -> Race:
        one = {name: value[:1] for name, value in self._parent.golden_inputs.items()}
        if session.batch not in (None, 1):
            raise InvalidError(f"the graph insists on batch {session.batch}; export it with an open batch dimension")
        recipe = self._recipe
        return race(
            self._session,
            session,
            one,
            threads=recipe.threads,
            runs=recipe.latency_runs,
            warmup=recipe.warmup_runs,
            watch=watch,
        )


def measure(
    parent: bytes, variant: bytes, golden_inputs: Feeds, evaluation: Evaluation, *, name: str, recipe: Recipe
) -> Figures:
    """Return the figures of a model that was made elsewhere."""
    source = Parent(model=parent, golden_inputs=golden_inputs)
    return Compressor(source, recipe, evaluation=evaluation).measure(name, variant, Watch())[0]


def first_samples(batches: Iterable[Feeds], samples: int) -> Iterator[Feeds]:
    """Yield batches until `samples` samples were given; the last is cut to fit."""
    left = samples
    for feeds in batches:
        size = len(next(iter(feeds.values())))
        yield feeds if size <= left else {name: value[:left] for name, value in feeds.items()}
        left -= size
        if left <= 0:
            return


def _first_labelled(
    batches: Iterable[tuple[Feeds, NDArray[np.int64]]], samples: int
) -> Iterator[tuple[Feeds, NDArray[np.int64]]]:
    left = samples
    for feeds, labels in batches:
        yield {name: value[:left] for name, value in feeds.items()}, labels[:left]
        left -= len(labels)
        if left <= 0:
            return


def _failure(variant: VariantRecipe, error: Exception) -> Outcome:
    what = error.message if isinstance(error, ModelwrightError) else f"{type(error).__name__}: {error}"
    reason = f"{variant.name} could not be made: {what}"
    verdict = Verdict(pays=False, pays_for="nothing", reason=reason)
    return Outcome(
        recipe=variant, card={"variant": variant.name, "verdict": verdict.to_mapping()}, verdict=verdict, failed=True
    )
