"""What a run is made of: data, the description that fits it, and what is known of both."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.augment.scaling import SHARES, Scaling
from services.train_svc.engine.batch import Batch, Data, Source
from services.train_svc.engine.loading.augmented import NO_CHANGES, Augmented
from services.train_svc.engine.loading.decoded import decode_step
from services.train_svc.engine.loading.items import Names
from services.train_svc.engine.loading.pictures import INPUT, PictureBatches, PictureSource
from services.train_svc.engine.loading.prefetch import Prefetched
from services.train_svc.engine.metrics import Vocabulary
from services.train_svc.engine.pictures import MemorySplit, Normalization, Split
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import AugmentSpec, MixSpec, TrainSpec
from services.train_svc.engine.speech.corpus import SpeechCorpus

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True, kw_only=True)
class Material:
    """Data and model of a run, fitted to each other."""

    data: Data
    """Learnt from, and evaluated on after each epoch."""
    description: Description | None = None
    """The model; None: it is a user's own."""
    scaling: Scaling = SHARES
    """How pictures of bytes become numbers."""
    labels: Sequence[str] = ()
    """Names of the classes, or the characters of the vocabulary; empty: there are none."""
    vocabulary: Vocabulary | None = None
    """Of speech: turns tokens into text."""
    evaluated: Mapping[str, Callable[[], Iterable[Batch]]] = field(default_factory=dict)
    """Opens further splits by name, such as `test`."""
    preprocess: Sequence[Mapping[str, Any]] = ()
    """Steps of preprocess.yaml: what the model's inputs went through."""
    names: Names = field(default_factory=Names)
    """For inputs and targets of batches that come without."""
    is_text: bool = False
    """Whether throughput is told in tokens."""


class Pictures(Protocol):
    """Labelled pictures in splits."""

    @property
    def digest(self) -> str:
        """Name of their content."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of the model's scores."""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width to read them at; None: the model must say."""

    def has(self, split: str) -> bool:
        """Say whether a split has samples."""

    def open(self, split: str, shape: tuple[int, ...]) -> Split:
        """Return a split, its pictures resized to `shape`."""


def of_pictures(pictures: Pictures, spec: TrainSpec) -> Material:
    """Return what a run on labelled pictures is made of.

    Raises:
        InvalidError: data and model do not fit, or a picture cannot be read; it is named.
    """
    description = None if spec.model.own else spec.model.describe(pictures.shape, len(pictures.labels))
    name = next(iter(description.inputs)) if description else INPUT
    shape = description.input_shape if description else pictures.shape
    if shape is None:
        raise fault("data", "its pictures differ in size, and a model of your own does not say one; resize them")

    # Only the train split is decoded before the first step; the others when they are first looked at.
    @cache
    def opened(split: str) -> Split:
        return pictures.open(split, shape)

    def batches(split: str) -> Callable[[], PictureBatches]:
        return lambda: PictureBatches(opened(split), batch_size=spec.batch_size * 4, name=name)

    train = opened(TRAIN)
    scaling = Normalization.of(train)
    source = PictureSource(train, digest=pictures.digest, batch_size=spec.batch_size, seed=spec.seed, name=name)
    changed = Augmented(source, seed=spec.seed, augment=spec.augment, mix=spec.mix, mask=spec.mask)
    splits = {split: batches(split) for split in (VALIDATION, TEST) if pictures.has(split)}
    return Material(
        data=Data(
            train=changed if isinstance(train, MemorySplit) else Prefetched(changed),
            validation=Lazily(splits[VALIDATION]) if VALIDATION in splits else None,
        ),
        description=description,
        scaling=scaling,
        labels=pictures.labels,
        evaluated=splits,
        preprocess=[decode_step(shape), scaling.step()],
    )


def of_speech(corpus: SpeechCorpus, spec: TrainSpec) -> Material:
    """Return what a run on transcribed speech is made of.

    Raises:
        InvalidError: data and model do not fit, or a recording cannot be read; it is named.
    """
    description = spec.model.describe_for_text(len(corpus.vocabulary))
    data = corpus.data(description, batch_size=spec.batch_size, seed=spec.seed, mask=spec.mask)

    def batches(split: str) -> Callable[[], Iterable[Batch]]:
        return lambda: corpus.evaluated(split, description, batch_size=spec.batch_size)

    return Material(
        data=replace(data, train=Prefetched(changed(data.train, spec))),
        description=description,
        labels=corpus.vocabulary.to_list(),
        vocabulary=corpus.vocabulary,
        evaluated={split: batches(split) for split in (VALIDATION, TEST) if split in corpus.splits},
        preprocess=corpus.preprocess.spec,
    )


def changed(source: Source, spec: TrainSpec) -> Source:
    """Return a source whose batches are blended and masked as the spec says.

    Changes of single pictures have defaults that fit small ones; other data is not moved by them unasked.
    """
    augment = spec.augment if spec.augment != AugmentSpec() else NO_CHANGES
    if augment == NO_CHANGES and spec.mix == MixSpec():
        return source
    return Augmented(source, seed=spec.seed, augment=augment, mix=spec.mix)


@dataclass(frozen=True)
class Lazily:
    """Batches that are opened when they are first gone through."""

    open: Callable[[], Iterable[Batch]]
    """Opens them."""

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator of batches
        """Yield all batches once."""
        return iter(self.open())
