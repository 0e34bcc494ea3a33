"""What a model takes and gives: names, types and shapes."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidError
from services.common.names import nearest
from services.serve_svc.engine.datatypes import BY_ORT, Datatype, datatype

ANY = -1


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output."""

    name: str
    kind: Datatype
    shape: tuple[int, ...]
    """-1: any size."""

    def check(self, kind: Datatype, shape: Sequence[int]) -> None:
        """Refuse a tensor of another type or shape."""
        if kind is not self.kind:
            raise InvalidError(
                f"input {self.name!r} takes {self.kind.name}, but {kind.name} came", field=f"inputs.{self.name}"
            )
        if len(shape) != len(self.shape) or any(
            want not in (ANY, got) or got < 0 for want, got in zip(self.shape, shape, strict=True)
        ):
            raise InvalidError(
                f"input {self.name!r} takes shape {list(self.shape)} (-1: any size), but {list(shape)} came",
                field=f"inputs.{self.name}",
            )


@dataclass(frozen=True, kw_only=True)
class Signature:
    """All inputs and outputs of a model, and how exactly its golden outputs must come again."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    rtol: float = 1e-3
    """Largest relative deviation of a golden output."""
    atol: float = 1e-4
    """Largest absolute deviation, added to the relative one."""

    @property
    def batches(self) -> bool:
        """Whether the first dimension of every tensor is a batch of any size."""
        return all(spec.shape[:1] == (ANY,) for spec in (*self.inputs, *self.outputs))

    def input(self, name: str) -> TensorSpec:
        """Return the input called `name`."""
        return _find(self.inputs, name, "input")

    def output(self, name: str) -> TensorSpec:
        """Return the output called `name`."""
        return _find(self.outputs, name, "output")

    def check_complete(self, given: Iterable[str]) -> None:
        """Refuse a request that leaves an input out."""
        missing = [spec.name for spec in self.inputs if spec.name not in given]
        if missing:
            raise InvalidError(
                f"input '{missing[0]}' is missing; the model takes {_names(self.inputs)}", field="inputs"
            )


def _find(specs: Sequence[TensorSpec], name: str, role: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    hint = nearest(name, [spec.name for spec in specs])
    raise InvalidError(f"the model has no {role} {name!r}{hint}; it has {_names(specs)}", field=f"{role}s")


def _names(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name!r}" for spec in specs)


def read_signature(text: bytes, where: str) -> Signature:
    """Return the signature of a package's `signature.json`.

    Raises:
        InvalidError: it is no JSON of the documented form.
    """
    try:
        data = json.loads(text)
        golden = data.get("golden", {})
        return Signature(
            inputs=_specs(data["inputs"], f"{where} inputs"),
            outputs=_specs(data["outputs"], f"{where} outputs"),
            rtol=float(golden.get("rtol", 1e-3)),
            atol=float(golden.get("atol", 1e-4)),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidError(
            f'{where}: not a signature ({error!r}); it reads {{"inputs": [{{"name", "datatype", "shape"}}], '
            '"outputs": [...]}',
            field=where,
        ) from error


def _specs(entries: list[dict[str, Any]], where: str) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=str(e["name"]), kind=datatype(e["datatype"], where), shape=tuple(int(n) for n in e["shape"]))
        for e in entries
    )


def graph_specs(arguments: Iterable[Any], where: str) -> tuple[TensorSpec, ...]:
    """Return the tensors that ONNX Runtime reports of a graph; named dimensions are of any size."""
    return tuple(_graph_spec(argument, where) for argument in arguments)


def _graph_spec(argument: Any, where: str) -> TensorSpec:  # noqa: ANN401 - ONNX Runtime's NodeArg
    kind = BY_ORT.get(argument.type)
    if kind is None:
        raise InvalidError(f"{where}: {argument.name!r} is a {argument.type}, which cannot be served", field=where)
    shape = tuple(size if isinstance(size, int) and size >= 0 else ANY for size in argument.shape or ())
    return TensorSpec(name=argument.name, kind=kind, shape=shape)
