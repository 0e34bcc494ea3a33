"""Golden inputs and outputs: a model must give here what it gave when it was exported."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.common.errors import InvalidError
from services.serve_svc.engine.datatypes import Datatype
from services.serve_svc.engine.elements import Array, from_bf16
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.signature import Signature, TensorSpec


def read_golden(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the recorded inputs and outputs by tensor name.

    Raises:
        InvalidError: the file cannot be read as arrays named `input:NAME` and `output:NAME`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidError(f"{path.name} cannot be read: {error}", field=path.name) from error
    inputs = {name.removeprefix("input:"): a for name, a in arrays.items() if name.startswith("input:")}
    outputs = {name.removeprefix("output:"): a for name, a in arrays.items() if name.startswith("output:")}
    if not inputs or not outputs:
        raise InvalidError(f"{path.name} holds no arrays named 'input:NAME' and 'output:NAME'", field=path.name)
    return inputs, outputs


def replay(session: Session, signature: Signature, path: Path) -> None:
    """Run the golden inputs and compare.

    Raises:
        InvalidError: an output deviates by more than the signature's rtol and atol.
    """
    inputs, wanted = read_golden(path)
    feeds = {name: _fed(signature.input(name), array) for name, array in inputs.items()}
    signature.check_complete(feeds)
    names = list(wanted)
    for name in names:
        signature.output(name)
    got = dict(zip(names, session.run(feeds, names), strict=True))
    compare(got, wanted, signature)


def _fed(spec: TensorSpec, array: Array) -> Array:
    if spec.kind.size == 0:
        array = np.array([str(e).encode() for e in array.ravel()], np.object_).reshape(array.shape)
    else:
        array = np.ascontiguousarray(array, spec.kind.dtype)
    spec.check(spec.kind, array.shape)
    return array


def compare(got: Mapping[str, Array], wanted: Mapping[str, Array], signature: Signature) -> None:
    """Refuse outputs that are not the recorded ones within the signature's tolerance."""
    for name, want in wanted.items():
        have = got[name]
        if have.shape != want.shape:
            _refuse(name, f"has shape {list(have.shape)}, recorded was {list(want.shape)}")
        kind = signature.output(name).kind
        if kind.size == 0:
            if [str(e) for e in have.ravel()] != [str(e) for e in want.ravel()]:
                _refuse(name, "holds other strings than those recorded")
            continue
        _compare_numbers(name, _wide(have, kind), _wide(want, kind), signature)


def _wide(array: Array, kind: Datatype) -> Array:
    return (from_bf16(array) if kind.name == "BF16" else array).astype(np.float64)


def _compare_numbers(name: str, have: Array, want: Array, signature: Signature) -> None:
    close = np.isclose(have, want, rtol=signature.rtol, atol=signature.atol, equal_nan=True)
    if close.all():
        return
    deviation = np.where(close, 0.0, np.abs(have - want))
    deviation = np.where(np.isnan(deviation), np.inf, deviation)
    worst = np.unravel_index(int(deviation.argmax()), deviation.shape)
    place = [int(n) for n in worst]
    _refuse(
        name,
        f"deviates by up to {deviation.max():.6g} (at {place}: {have[worst]:.6g}, recorded {want[worst]:.6g}; "
        f"{int((~close).sum())} of {close.size} elements are beyond rtol {signature.rtol:g}, atol {signature.atol:g})",
    )


def _refuse(name: str, fault: str) -> None:
    raise InvalidError(
        f"golden replay: output {name!r} {fault}; the model does not give here what it gave at export, so it takes "
        "no traffic: export it again, or widen `golden` in signature.json if this is rounding",
        field=f"outputs.{name}",
    )
