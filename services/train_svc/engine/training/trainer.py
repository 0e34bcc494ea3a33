"""`Trainer`: a model, data, and how to train; usable with no service running."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.train_svc.engine.engines import engine_for
from services.train_svc.engine.ports import MetricSink
from services.train_svc.engine.reading import fault
from services.train_svc.engine.training.display import Display, Mode
from services.train_svc.engine.training.run import Run
from services.train_svc.engine.training.settings import listed, model_settings, spec_of
from services.train_svc.engine.training.sorting import material_of


class Trainer(Run):
    """Fits a model to data.

        Trainer("resnet", "folder/of/pictures", optimizer="adamw", lr=5e-4, precision="auto", epochs=10).fit()

    Args:
        model: a description, a template's name, the path of an `architecture.yaml`, a torch module or a Keras model.
        data: a folder of pictures or of speech, a dataset version, an iterable of batches, or a pair of iterables, to
            learn from and to evaluate on; see `training.sorting.material_of`.
        folder: where checkpoints and the curve are kept; None: `runs/<time>` under the working directory.
        callbacks: told of steps, evaluations and checkpoints; see `training.callbacks`.
        sinks: get every metric beside the curve, such as `TensorBoardSink(folder)`.
        display: `auto`: live on a terminal, lines elsewhere; `live`; `lines`; `silent`.
        settings: fields of `TrainSpec`, as plain data or as its classes; `lr` stands for the optimizer's.

    Raises:
        InvalidError: a setting is unknown or wrong, or model and data do not fit; all faults at once.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - see above
        data: Any,  # noqa: ANN401
        *,
        folder: str | Path | None = None,
        callbacks: Iterable[object] = (),
        sinks: Sequence[MetricSink] = (),
        display: Mode = "auto",
        **settings: Any,  # noqa: ANN401
    ) -> None:
        given, own = model_settings(model)
        spec = spec_of({**settings, **given, **({} if own is None else _engine_of(own, settings))})
        super().__init__(
            spec,
            material_of(data, spec, is_own=own is not None),
            Path(folder) if folder else Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"),
            own=own,
            callbacks=[*listed(callbacks, "callbacks"), Display(display)],
            sinks=sinks,
        )


def _engine_of(own: Any, settings: Mapping[str, Any]) -> dict[str, str]:  # noqa: ANN401 - a user's own model
    found = engine_for(own)
    wanted = settings.get("engine", found)
    if wanted != found:
        raise fault("train.engine", f"got {wanted!r}, and the model is of {found}; leave it out")
    return {"engine": found}
