"""What to make of a model: the `compress` section, typed. Imports neither numpy nor onnx."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from services.common.errors import InvalidError, Violation
from services.common.names import NAME, nearest
from services.compress_svc.engine.fields import Fields

Kind = Literal["fp32", "int8", "fp16"]
Calibration = Literal["minmax", "percentile", "entropy", "mse"]

KINDS: tuple[str, ...] = ("fp32", "int8", "fp16")
CALIBRATIONS: tuple[str, ...] = ("minmax", "percentile", "entropy", "mse")
_COMMON = ("name", "kind")
_INT8 = ("method", "calibration", "calibration_samples", "percentile", "reduce_range", "exclude_nodes")
_RECIPE = ("variants", "latency_runs", "warmup_runs", "threads", "evaluation_samples", "max_accuracy_drop")


@dataclass(frozen=True, kw_only=True)
class VariantRecipe:
    """One child to make. The fields after `kind` concern int8 alone."""

    name: str
    """What the child is called; becomes its variant in the registry."""
    kind: Kind
    """fp32: the exported graph as it is; int8: static QDQ; fp16: half precision inside, float32 at the edges."""
    method: Literal["static"] = "static"
    """Static: activation ranges are found beforehand, on training samples."""
    calibration: Calibration = "mse"
    """How an activation's range is chosen from what was seen; see `engine.thresholds`."""
    calibration_samples: int = 256
    """Training samples that are looked at, twice. More cost time, not memory."""
    percentile: float = 99.99
    """Used by `percentile`: per cent of values kept below the upper (above the lower) bound."""
    reduce_range: bool = False
    """Weights of 7 bits: for x86 without VNNI, whose 16-bit sums may saturate with 8; costs accuracy elsewhere."""
    exclude_nodes: tuple[str, ...] = ()
    """Names of graph nodes left in float32."""

    def to_mapping(self) -> dict[str, Any]:
        """Return the form that `Recipe.from_mapping` reads, all defaults written out."""
        common: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind != "int8":
            return common
        values = {key: getattr(self, key) for key in _INT8}
        return common | values | {"exclude_nodes": list(self.exclude_nodes)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The variants to make and how each is measured."""

    variants: tuple[VariantRecipe, ...]
    """Made in this order; names are unique."""
    latency_runs: int = 300
    """Timed runs of parent and variant each, interleaved."""
    warmup_runs: int = 20
    """Runs of each before the clock starts."""
    threads: int = 1
    """Threads of the runtime, in measuring alone; stated in the card."""
    evaluation_samples: int = 0
    """Test samples that accuracy is measured on; 0: all."""
    max_accuracy_drop: float = 0.01
    """A variant that loses more than this does not pay, however fast."""

    @classmethod
    def from_mapping(cls, data: object, path: str = "compress") -> "Recipe":
        """Read what a person typed; `path` leads the names of faulty fields.

        Raises:
            InvalidError: with every fault as a violation, such as `compress.variants[1].method`.
        """
        violations: list[Violation] = []
        recipe = _read(data, path, violations)
        if violations:
            raise InvalidError(
                "; ".join(f"{found.field}: {found.message}" for found in violations), violations=violations
            )
        return recipe

    def to_mapping(self) -> dict[str, Any]:
        """Return the form that `from_mapping` reads, all defaults written out."""
        values = {key: getattr(self, key) for key in _RECIPE}
        return values | {"variants": [variant.to_mapping() for variant in self.variants]}


def _read(data: object, path: str, violations: list[Violation]) -> Recipe:
    mapping: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    fields = Fields(mapping, path, violations)
    if not isinstance(data, Mapping):
        fields.reject("", f"got {data!r}, wanted a mapping with the key variants")
        return Recipe(variants=())
    fields.only(_RECIPE)
    return Recipe(
        variants=_variants(mapping, fields, path, violations),
        latency_runs=fields.integer("latency_runs", 300, 10, 100_000),
        warmup_runs=fields.integer("warmup_runs", 20, 0, 10_000),
        threads=fields.integer("threads", 1, 1, 256),
        evaluation_samples=fields.integer("evaluation_samples", 0, 0, 10_000_000),
        max_accuracy_drop=fields.number("max_accuracy_drop", 0.01, 0.0, 1.0),
    )


def _variants(
    mapping: Mapping[str, Any], fields: Fields, path: str, violations: list[Violation]
) -> tuple[VariantRecipe, ...]:
    items = mapping.get("variants")
    if not isinstance(items, list) or not items:
        fields.reject("variants", f"got {items!r}, wanted a list such as [{{name: int8}}, {{name: fp16}}]")
        return ()
    found = tuple(_variant(item, f"{path}.variants[{i}]", violations) for i, item in enumerate(items))
    names = [variant.name for variant in found]
    for i, name in enumerate(names):
        if name and name in names[:i]:
            fields.reject(f"variants[{i}].name", f"{name!r} is given twice; name each variant once")
    return found


def _variant(item: object, path: str, violations: list[Violation]) -> VariantRecipe:
    data: Mapping[str, Any] = {"name": item} if isinstance(item, str) else item if isinstance(item, Mapping) else {}
    fields = Fields(data, path, violations)
    if not data or "name" not in data:
        fields.reject("" if not data else "name", f"got {item!r}, wanted a variant such as {{name: int8}}")
        return VariantRecipe(name="", kind="fp32")
    name = fields.text("name", "fp32")
    if not NAME.fullmatch(name):
        fields.reject("name", f"{name!r} is not a valid name: use letters, digits, '.', '_' or '-'")
    kind = _kind(data, fields, name)
    if kind != "int8":
        fields.only(_COMMON)
        return VariantRecipe(name=name, kind=cast(Kind, kind))
    fields.only(_COMMON + _INT8)
    return _int8(data, fields, name)


def _kind(data: Mapping[str, Any], fields: Fields, name: str) -> str:
    """Return the kind: as given, or the name itself, or what stands before the first '-' or '_' of it."""
    if "kind" in data:
        return fields.choice("kind", KINDS, "fp32")
    for kind in KINDS:
        if name == kind or name.startswith((f"{kind}-", f"{kind}_")):
            return kind
    fields.reject("name", f"{name!r} says no kind{nearest(name, KINDS)}; add kind: {' | '.join(KINDS)}")
    return "fp32"


def _int8(data: Mapping[str, Any], fields: Fields, name: str) -> VariantRecipe:
    if data.get("method") in CALIBRATIONS:
        fields.reject("method", f"got {data['method']!r}, wanted static; did you mean 'calibration: {data['method']}'?")
    else:
        fields.choice("method", ("static",), "static")
    return VariantRecipe(
        name=name,
        kind="int8",
        calibration=cast(Calibration, fields.choice("calibration", CALIBRATIONS, "mse")),
        calibration_samples=fields.integer("calibration_samples", 256, 1, 1_000_000),
        percentile=fields.number("percentile", 99.99, 50.0, 100.0),
        reduce_range=fields.truth("reduce_range", False),
        exclude_nodes=fields.texts("exclude_nodes"),
    )
