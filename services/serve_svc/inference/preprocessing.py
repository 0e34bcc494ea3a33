"""The package's `preprocess.yaml`, read by the steps that training used."""

from pathlib import Path

from services.serve_svc.engine.pipeline import Preprocess


def read_preprocess(path: Path) -> Preprocess:
    """Return what turns the raw bytes of one sample into one row of the model's first input.

    Raises:
        InvalidError: the file names an unknown step or a wrong parameter.
    """
    # Its libraries are needed only where a package asks for them.
    from services.common.preprocess import Preprocess as Steps  # noqa: PLC0415

    return Steps.load(path).one
