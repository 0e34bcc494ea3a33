"""The five stages: what each depends on, whether an earlier result still holds, and how it is carried out."""

from typing import Any, Protocol

from gateway.lifecycles import requests
from gateway.lifecycles.gate import Candidate, Miss, choose, read_figures
from gateway.lifecycles.spec import GateSection, Upload
from gateway.lifecycles.work import StageFailedError, Work
from gateway.translate import to_value
from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.train.v1 import registry_pb2


class StageWork(Protocol):
    """How one kind of stage is carried out."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return all that the result depends on; its digest names the result."""

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether an earlier result is still there to be used."""

    async def run(self, work: Work) -> dict[str, Any]:
        """Carry the stage out and return its result."""


class DataStage:
    """Commits uploads as a dataset version, or finds the version that is named."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return the bytes and the split policy; for a named version, its digest."""
        data = work.spec.data
        if not data.commits:
            return {"version": (await self._version(work, data.dataset)).digest}
        digests = [await self._upload_digest(work, upload) for upload in data.uploads]
        return {
            "dataset": data.dataset,
            "uploads": digests,
            "split": data.fractions,
            "seed": data.seed,
            "stratify": data.stratify,
            "parent": data.parent,
        }

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether the version was not deleted."""
        request = dataset_pb2.GetVersionRequest(project=work.spec.project, ref=result["dataset_digest"])
        return await work.exists(work.upstream.data.GetVersion, request) is not None

    async def run(self, work: Work) -> dict[str, Any]:
        """Return the version's digest, name and extent."""
        ref = work.spec.data.dataset
        if work.spec.data.commits:
            done = await work.follow("data", lambda: self._submit(work))
            ref = str(done.get("digest") or done.get("dataset_digest") or ref)
        version = await self._version(work, ref)
        return {
            "dataset_digest": version.digest,
            "dataset": f"{version.name}:{version.number}",
            "samples": version.samples,
            "bytes": version.bytes,
            "schema": to_value(version)["schema"],
        }

    async def _submit(self, work: Work) -> job_pb2.Job:
        request = requests.commit(work.spec, work.key)
        job: job_pb2.Job = (await work.call(work.upstream.data.CommitDataset, request)).job
        return job

    async def _version(self, work: Work, ref: str) -> dataset_pb2.DatasetVersion:
        request = dataset_pb2.GetVersionRequest(project=work.spec.project, ref=ref)
        version: dataset_pb2.DatasetVersion = (await work.call(work.upstream.data.GetVersion, request)).version
        return version

    async def _upload_digest(self, work: Work, upload: Upload) -> str:
        """Return the digest of the bytes that arrived; of an upload that is gone, the one that was stated."""
        request = dataset_pb2.GetUploadRequest(id=upload.id)
        found = await work.exists(work.upstream.data.GetUpload, request)
        if found is None or not found.upload.digest:
            return upload.digest or upload.id
        if upload.digest and upload.digest != found.upload.digest:
            raise StageFailedError(
                f"upload {upload.id} has digest {found.upload.digest}, not {upload.digest}; upload the files again"
            )
        return str(found.upload.digest)


class TrainStage:
    """Trains a model on the dataset version."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return the dataset version and the specification."""
        return {"dataset": work.results["data"]["dataset_digest"], "train": requests.train_spec(work.spec)}

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether the trained version was not deleted."""
        return await has_version(work, result["model_digest"])

    async def run(self, work: Work) -> dict[str, Any]:
        """Return the version's digest, its run and its figures."""
        done = await work.follow("train", lambda: self._submit(work))
        digest = str(done.get("model_digest", ""))
        version = await find_version(work, digest)
        return {
            "model_digest": digest,
            "model": f"{version.name}/{version.number}",
            "run_id": done.get("run_id", ""),
            "metrics": done.get("metrics", {}),
        }

    async def _submit(self, work: Work) -> job_pb2.Job:
        request = requests.training(work.spec, work.results["data"]["dataset_digest"], work.key)
        job: job_pb2.Job = (await work.call(work.upstream.runs.SubmitTraining, request)).job
        return job


class CompressStage:
    """Makes and measures the variants."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return the trained version, the dataset version and the recipe."""
        return {
            "model": work.results["train"]["model_digest"],
            "dataset": work.results["data"]["dataset_digest"],
            "recipe": requests.recipe(work.spec),
        }

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether no variant was deleted."""
        digests = [one["digest"] for one in result["variants"] if one.get("digest")]
        return all([await has_version(work, digest) for digest in digests])

    async def run(self, work: Work) -> dict[str, Any]:
        """Return the variants with their cards."""
        done = await work.follow("compress", lambda: self._submit(work))
        variants = done.get("variants")
        if not isinstance(variants, list) or not variants:
            raise StageFailedError("the compression made no variant; see its job's log")
        return {"variants": variants}

    async def _submit(self, work: Work) -> job_pb2.Job:
        model, dataset = work.results["train"]["model_digest"], work.results["data"]["dataset_digest"]
        request = requests.compression(work.spec, model, dataset, work.key)
        job: job_pb2.Job = (await work.call(work.upstream.compressions.SubmitCompression, request)).job
        return job


class GateStage:
    """Chooses among the variants, or stops the lifecycle."""

    async def inputs(self, work: Work) -> dict[str, Any]:
        """Return the cards' figures and the demands."""
        section = work.spec.gate or GateSection()
        return {
            "candidates": [[one.variant, one.digest, one.figures] for one in candidates(work)],
            "bounds": [str(bound) for bound in section.bounds],
            "prefer": section.prefer,
        }

    async def holds(self, work: Work, result: dict[str, Any]) -> bool:
        """Say whether the chosen version was not deleted."""
        return await has_version(work, result["chosen"]["digest"])

    async def run(self, work: Work) -> dict[str, Any]:
        """Return what was chosen and how every candidate stood."""
        section = work.spec.gate or GateSection()
        found = candidates(work)
        if not found:
            raise StageFailedError("no variant could be made, so nothing can be chosen; see the compress job's log")
        verdict = choose(found, list(section.bounds), section.prefer)
        if verdict.chosen is None:
            raise StageFailedError(verdict.refusal())
        chosen = verdict.chosen
        return {
            "chosen": {"variant": chosen.variant, "digest": chosen.digest, "figures": chosen.figures},
            "bounds": [str(bound) for bound in section.bounds],
            "prefer": section.prefer,
            "candidates": [_stood(one, verdict.misses[one.variant]) for one in found],
        }


def _stood(one: Candidate, misses: list[Miss]) -> dict[str, Any]:
    return {
        "variant": one.variant,
        "digest": one.digest,
        "figures": one.figures,
        "passes": not misses,
        "misses": [str(miss) for miss in misses],
    }


def candidates(work: Work) -> list[Candidate]:
    """Return every variant that could be made, the uncompressed one included, with its figures."""
    made = [one for one in work.results["compress"]["variants"] if one.get("digest")]
    reference = next((one.get("card") for one in made if one["name"] == requests.UNCOMPRESSED), None)
    return [
        Candidate(variant=one["name"], digest=one["digest"], figures=read_figures(one.get("card") or {}, reference))
        for one in made
    ]


async def find_version(work: Work, ref: str) -> registry_pb2.ModelVersion:
    """Return a model version."""
    request = registry_pb2.GetModelVersionRequest(project=work.spec.project, ref=ref)
    version: registry_pb2.ModelVersion = (await work.call(work.upstream.registry.GetModelVersion, request)).version
    return version


async def has_version(work: Work, digest: str) -> bool:
    """Say whether the registry has the version."""
    request = registry_pb2.GetModelVersionRequest(project=work.spec.project, ref=digest)
    return await work.exists(work.upstream.registry.GetModelVersion, request) is not None
