"""Whatever a user gives as data, as the material of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError
from services.common.records import RecordSet
from services.train_svc.engine.batch import Batch, Data
from services.train_svc.engine.dataset import PictureDataset
from services.train_svc.engine.loading.folder import PictureFolder, open_folder
from services.train_svc.engine.loading.items import Names
from services.train_svc.engine.loading.iterables import IterableBatches, IterableSource
from services.train_svc.engine.loading.prefetch import Prefetched
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.speech.corpus import SpeechCorpus
from services.train_svc.engine.speech.folder import is_speech_folder, read_folder
from services.train_svc.engine.training.material import Material, changed, of_pictures, of_speech

PAIR = 2
OWN = ("input", *(f"input_{number}" for number in range(1, 16)))
"""Names of what goes into a user's own model, in its order."""


def material_of(data: Any, spec: TrainSpec, *, is_own: bool) -> Material:  # noqa: ANN401 - see below
    """Return the material of a run.

    Args:
        data: a folder of pictures in classes or of transcribed speech; a `RecordSet`, which is a dataset version; an
            opened `PictureFolder`, `PictureDataset` or `SpeechCorpus`; a `Data`; an iterable of batches; or a pair of
            iterables, to learn from and to evaluate on.
        spec: how it is trained.
        is_own: whether the model is a user's own, so that no description is fitted to the data.

    Raises:
        InvalidError: the data is of no known kind, or data and model do not fit.
    """
    if isinstance(data, str | Path):
        data = open_data(Path(data))
    if isinstance(data, RecordSet):
        data = PictureDataset(records=data)
    if isinstance(data, Material):
        return data
    if isinstance(data, PictureFolder | PictureDataset):
        return of_pictures(data, spec)
    if isinstance(data, SpeechCorpus):
        if is_own:
            message = "is speech, which is made ready for a description; give one, or batches of your own"
            raise InvalidError(f"the data {message}", field="data")
        return of_speech(data, spec)
    description = None if is_own else spec.model.written()
    names = Names(inputs=tuple(description.inputs) if description else OWN)
    return Material(data=_iterated(data, names, spec), description=description, names=names)


def open_data(folder: Path) -> Any:  # noqa: ANN401 - what a folder holds
    """Return what a folder holds: labelled pictures or transcribed speech.

    Raises:
        InvalidError: there is no such folder, or nothing in it that is known.
    """
    if folder.is_dir() and is_speech_folder(folder):
        return SpeechCorpus.of(read_folder(folder))
    return open_folder(folder)


def _iterated(data: Any, names: Names, spec: TrainSpec) -> Data:  # noqa: ANN401 - see `material_of`
    if isinstance(data, Data):
        return data
    if hasattr(data, "at") and hasattr(data, "steps_per_epoch"):
        return Data(train=data)
    train, validation = data if _is_pair(data) else (data, None)
    source = changed(IterableSource(train, names=names, seed=spec.seed), spec)
    evaluated = None if validation is None else IterableBatches(validation, names=names)
    # The batches of a list are there already: a thread that fetches them would only be in the way.
    return Data(train=source if isinstance(train, list | tuple) else Prefetched(source), validation=evaluated)


def _is_pair(data: Any) -> bool:  # noqa: ANN401 - see `material_of`
    # A list of two batches is no pair: each of its items is one batch, and not an iterable of some.
    if not isinstance(data, tuple) or len(data) != PAIR:
        return False
    first = data[0]
    if isinstance(first, Mapping | Batch) or hasattr(first, "shape"):
        message = "the data is a pair of arrays; give an iterable of batches, such as [(inputs, labels), ...]"
        raise InvalidError(message, field="data")
    return True
