"""Prometheus text: Triton's metric names, which dashboards chart already, and the process's own figures.

Written by hand because Triton's counters lack the `_total` that prometheus_client insists on.
"""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest

from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.engine.generation import Generation
from services.serve_svc.engine.statistics import Statistics

COUNTERS: dict[str, tuple[str, Callable[[Statistics], int]]] = {
    "nv_inference_request_success": ("Requests answered", lambda s: s.success),
    "nv_inference_request_failure": ("Requests answered with an error", lambda s: s.failure),
    "nv_inference_count": ("Rows inferred", lambda s: s.inferences),
    "nv_inference_exec_count": ("Runs of the model; fewer than rows where batches form", lambda s: s.executions),
    "nv_inference_request_duration_us": ("Microseconds of all answered requests", lambda s: s.request_ns // 1000),
    "nv_inference_queue_duration_us": ("Microseconds that requests waited", lambda s: s.queue_ns // 1000),
    "nv_inference_compute_input_duration_us": ("Microseconds before the model", lambda s: s.input_ns // 1000),
    "nv_inference_compute_infer_duration_us": ("Microseconds in the model", lambda s: s.infer_ns // 1000),
    "nv_inference_compute_output_duration_us": ("Microseconds behind the model", lambda s: s.output_ns // 1000),
}


def process_registry() -> CollectorRegistry:
    """Return the collectors of CPU, memory and open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def render(catalog: Catalog, registry: CollectorRegistry, connections: int) -> bytes:
    """Return the page."""
    generations = list(catalog)
    lines: list[str] = []
    for name, (text, read) in COUNTERS.items():
        lines += _family(name, "counter", text, ((g, read(g.statistics)) for g in generations))
    lines += _family(
        "nv_inference_pending_request_count",
        "gauge",
        "Requests that wait now",
        ((g, g.statistics.pending) for g in generations),
    )
    lines += _family(
        "modelwright_in_flight_requests", "gauge", "Requests begun, not ended", ((g, g.in_flight) for g in generations)
    )
    lines += _family(
        "modelwright_model_info", "gauge", "The version that takes the traffic", ((g, 1) for g in generations)
    )
    lines += ["# HELP modelwright_connections Open REST connections", "# TYPE modelwright_connections gauge"]
    lines += [f"modelwright_connections {connections}", ""]
    return "\n".join(lines).encode() + generate_latest(registry)


def _family(name: str, kind: str, text: str, values: Iterable[tuple[Generation, int]]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for generation, value in values:
        identity = generation.identity
        labels = f'model="{identity.model}",version="{identity.version}"'
        if name == "modelwright_model_info":
            labels += f',digest="{identity.digest}",revision="{identity.revision}"'
        lines.append(f"{name}{{{labels}}} {value}")
    return lines
