"""What a lifecycle asks of the services: the same message for checking a section and for carrying it out."""

from typing import Any

import orjson

from gateway.lifecycles.spec import LifecycleSpec, ServeSection
from proto.gen.modelwright.compress.v1 import compression_pb2
from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.serve.v1 import deployment_pb2
from proto.gen.modelwright.train.v1 import run_pb2

UNCOMPRESSED = "fp32"
"""Name of the variant that is exported and nothing else: the gate's reference."""


def commit(spec: LifecycleSpec, key: str = "") -> dataset_pb2.CommitDatasetRequest:
    """Return the data section's request; without a key it only checks."""
    data = spec.data
    return dataset_pb2.CommitDatasetRequest(
        project=spec.project,
        name=data.dataset,
        upload_ids=[upload.id for upload in data.uploads],
        split=dataset_pb2.SplitPolicy(fractions=data.fractions, seed=data.seed, stratify=data.stratify),
        parent=data.parent,
        idempotency_key=key,
        validate_only=not key,
    )


def training(spec: LifecycleSpec, dataset_digest: str = "", key: str = "") -> run_pb2.SubmitTrainingRequest:
    """Return the train section's request; without a key it only checks."""
    return run_pb2.SubmitTrainingRequest(
        project=spec.project,
        name=spec.name,
        spec_json=_text(train_spec(spec)),
        dataset_digest=dataset_digest,
        idempotency_key=key,
        validate_only=not key,
    )


def compression(
    spec: LifecycleSpec, model_ref: str = "", dataset_digest: str = "", key: str = ""
) -> compression_pb2.SubmitCompressionRequest:
    """Return the compress section's request; without a key it only checks."""
    return compression_pb2.SubmitCompressionRequest(
        project=spec.project,
        model_ref=model_ref,
        dataset_digest=dataset_digest,
        recipe_json=_text(recipe(spec)),
        idempotency_key=key,
        validate_only=not key,
    )


def deployment(serve: ServeSection, project: str, model_ref: str = "") -> deployment_pb2.ApplyDeploymentRequest:
    """Return the serve section's request; without a model it only checks."""
    return deployment_pb2.ApplyDeploymentRequest(
        project=project,
        name=serve.deployment,
        model_ref=model_ref,
        options_json=_text(serve.options) if serve.options else "",
        validate_only=not model_ref,
    )


def train_spec(spec: LifecycleSpec) -> dict[str, Any]:
    """Return the training specification; the model is named after the lifecycle unless it says otherwise."""
    return {"model_name": spec.model_name, **(spec.train or {})}


def recipe(spec: LifecycleSpec) -> dict[str, Any]:
    """Return the recipe, with the uncompressed variant first: the gate compares with it and may choose it."""
    stated = dict(spec.compress or {})
    variants = stated.get("variants", [])
    if isinstance(variants, list):
        names = [one.get("name") if isinstance(one, dict) else one for one in variants]
        if UNCOMPRESSED not in names:
            variants = [{"name": UNCOMPRESSED}, *variants]
    return {**stated, "variants": variants}


def _text(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
