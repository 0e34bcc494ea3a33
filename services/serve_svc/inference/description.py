"""What the server and its models say of themselves, the same over REST and gRPC."""

from typing import Any

from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.engine.generation import Generation
from services.serve_svc.engine.signature import TensorSpec
from services.serve_svc.engine.statistics import Statistics

SERVER = "modelwright"
VERSION = "0.1.0"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository(index)", "statistics")
PLATFORM = "onnxruntime_onnx"


def server_metadata() -> dict[str, Any]:
    """Return name, version and extensions."""
    return {"name": SERVER, "version": VERSION, "extensions": list(EXTENSIONS)}


def model_metadata(catalog: Catalog, generation: Generation) -> dict[str, Any]:
    """Return the versions held and the signature of one of them."""
    return {
        "name": generation.identity.model,
        "versions": catalog.versions(generation.identity.model),
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in generation.signature.inputs],
        "outputs": [_tensor(spec) for spec in generation.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.kind.name, "shape": list(spec.shape)}


def model_config(generation: Generation) -> dict[str, Any]:
    """Return the configuration in Triton's words (the JSON form of `inference.ModelConfig`)."""
    options, signature = generation.options, generation.signature
    skip = 1 if signature.batches else 0
    config: dict[str, Any] = {
        "name": generation.identity.model,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": options.batching.max_batch_size if signature.batches else 0,
        "input": [_config_tensor(spec, skip) for spec in signature.inputs],
        "output": [_config_tensor(spec, skip) for spec in signature.outputs],
        "instance_group": [{"name": generation.identity.model, "count": options.instances, "kind": "KIND_CPU"}],
        "default_model_filename": "model.onnx",
        "parameters": {key: {"string_value": value} for key, value in generation.parameters.items()},
    }
    if signature.batches:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": options.batching.max_queue_delay_us}
    if generation.pipeline.labels:
        config["output"][0]["label_filename"] = "labels.json"
    return config


def _config_tensor(spec: TensorSpec, skip: int) -> dict[str, Any]:
    name = "STRING" if spec.kind.name == "BYTES" else spec.kind.name
    return {"name": spec.name, "data_type": f"TYPE_{name}", "dims": list(spec.shape[skip:])}


def model_statistics(generation: Generation) -> dict[str, Any]:
    """Return the counters in the words of `inference.ModelStatistics`."""
    stats = generation.statistics
    return {
        "name": generation.identity.model,
        "version": generation.identity.version,
        "last_inference": stats.last_inference_ms,
        "inference_count": stats.inferences,
        "execution_count": stats.executions,
        "inference_stats": _durations(stats),
        "batch_stats": [
            {"batch_size": rows, "compute_infer": {"count": runs, "ns": stats.batch_infer_ns[rows]}}
            for rows, runs in sorted(stats.batches.items())
        ],
    }


def _durations(stats: Statistics) -> dict[str, dict[str, int]]:
    return {
        "success": {"count": stats.success, "ns": stats.request_ns},
        "fail": {"count": stats.failure, "ns": 0},
        "queue": {"count": stats.success, "ns": stats.queue_ns},
        "compute_input": {"count": stats.success, "ns": stats.input_ns},
        "compute_infer": {"count": stats.success, "ns": stats.infer_ns},
        "compute_output": {"count": stats.success, "ns": stats.output_ns},
    }


def repository_index(catalog: Catalog, *, ready: bool) -> list[dict[str, str]]:
    """Return every model that is, or unless `ready` shall be, loaded."""
    found = [
        {"name": one.identity.model, "version": one.identity.version, "state": "READY", "reason": ""} for one in catalog
    ]
    if not ready:
        found += [
            {"name": name, "version": "", "state": "UNAVAILABLE" if reason else "LOADING", "reason": reason}
            for name, reason in catalog.expected.items()
        ]
    return found
