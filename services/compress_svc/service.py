"""Use cases of compressions: submit, look, record what a worker made."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.digest import check_digest
from services.common.errors import ConflictError, InvalidError, Violation
from services.common.ids import new_id
from services.common.jobs import Job, JobService, Lease
from services.common.names import NAME, check_name, nearest
from services.common.paging import decode_token, encode_token, page_limit
from services.compress_svc import repository
from services.compress_svc.engine.recipe import Recipe
from services.compress_svc.models import VERDICTS, Compression, DatasetRef, ModelRef, Variant

KIND = "compress"
CALIBRATION_SPLIT, EVALUATION_SPLIT = "train", "test"
MAX_KEY_CHARS = 200


class Sources(Protocol):
    """Where models and datasets are known: train_svc and data_svc."""

    def model(self, project: str, ref: str) -> ModelRef:
        """Return the version that a reference names, or raise NotFoundError."""
        ...

    def dataset(self, project: str, ref: str) -> DatasetRef:
        """Return the version that a reference names, or raise NotFoundError."""
        ...


class CompressionService:
    """Keeps compressions and the variants that came of them.

    Args:
        database: where the tables are.
        jobs: queues the work.
        sources: resolve models and datasets.
        default_queue: of a compression that names none.
    """

    def __init__(self, database: Database, jobs: JobService, sources: Sources, default_queue: str = "cpu") -> None:
        self._database = database
        self._jobs = jobs
        self._sources = sources
        self._default_queue = default_queue

    def submit(
        self,
        *,
        project: str,
        model_ref: str,
        dataset_ref: str,
        recipe: object,
        queue: str = "",
        idempotency_key: str = "",
        validate_only: bool = False,
    ) -> tuple[Compression | None, Job | None]:
        """Queue the recipe's variants of a model; the same key gives what was submitted with it.

        Raises:
            InvalidError: with every fault of the request.
            NotFoundError: model or dataset do not exist.
            ConflictError: the key was used for something else.
        """
        checked = _checked(project, recipe, queue, idempotency_key)
        asked = self._resolved(project, model_ref, dataset_ref, checked, required=not validate_only)
        if validate_only or asked is None:
            return None, None
        model, dataset = asked
        compression = Compression(
            id=new_id("cmp"),
            project=project,
            model_name=model.name,
            parent=model.digest,
            dataset_digest=dataset.digest,
            recipe=checked.to_mapping(),
            created_at=time.time(),
        )
        with self._database.write() as session:
            return self._submit(session, compression, (*model.files, *dataset.files), queue, idempotency_key)

    def get(self, compression_id: str) -> Compression:
        """Return a compression, or raise NotFoundError."""
        with self._database.read() as session:
            return repository.get(session, compression_id)

    def page(self, project: str, page_size: int, page_token: str) -> tuple[list[Compression], str]:
        """Return a page of compressions, newest first, and the token of the next."""
        query = {"project": project, "list": "compressions"}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            found = repository.page(session, project, after, limit + 1)
        if len(found) <= limit:
            return found, ""
        last = found[limit - 1]
        return found[:limit], encode_token([last.created_at, last.id], query)

    def record(self, lease: Lease, compression_id: str, variant: Variant) -> Compression:
        """Keep a variant that the holder of the job made; one of that name that is kept already stays.

        Raises:
            StaleLeaseError: another worker has the job.
            ConflictError: the job is not that of this compression.
        """
        with self._database.write() as session:
            repository.lock(session, compression_id)
            job = self._jobs.check_lease(session, lease)
            if job.subject != compression_id:
                raise ConflictError(f"job {job.id} works on {job.subject}, not on {compression_id}")
            _check_variant(variant, repository.get(session, compression_id))
            repository.put_variant(session, compression_id, variant)
            return repository.get(session, compression_id)

    def references(self) -> Iterator[Sequence[str]]:
        """Yield the digests of the blobs that queued and running compressions need, in groups."""
        with self._database.read() as session:
            yield from repository.iterate_needed(session)

    def _resolved(
        self, project: str, model_ref: str, dataset_ref: str, recipe: Recipe, *, required: bool
    ) -> tuple[ModelRef, DatasetRef] | None:
        missing = [
            Violation(field=field, message=f"{field} is empty; give {example}")
            for field, value, example in (
                ("model_ref", model_ref, "a model such as digits@champion or sha256:…"),
                ("dataset_digest", dataset_ref, "a dataset version such as digits:3 or sha256:…"),
            )
            if required and not value
        ]
        if missing:
            raise InvalidError("; ".join(found.message for found in missing), violations=missing)
        model = self._sources.model(project, model_ref) if model_ref else None
        dataset = self._sources.dataset(project, dataset_ref) if dataset_ref else None
        if dataset:
            _check_splits(dataset, recipe)
        return (model, dataset) if model and dataset else None

    def _submit(
        self, session: Session, compression: Compression, needed: Sequence[str], queue: str, key: str
    ) -> tuple[Compression, Job]:
        job = self._jobs.submit(
            session,
            kind=KIND,
            project=compression.project,
            subject=compression.id,
            queue=queue or self._default_queue,
            spec=_spec(compression),
            idempotency_key=key,
        )
        if job.subject != compression.id:
            known = repository.get(session, job.subject)
            if _spec(known) != _spec(compression):
                raise ConflictError(f"idempotency key {key!r} was used for {known.id}, which differs; use another key")
            return known, job
        kept = Compression(**(vars(compression) | {"job_id": job.id}))
        repository.add(session, kept, needed)
        return kept, job


def end_work(session: Session, job: Job) -> None:
    """Let go of what an ended job needed; called with every change of a job, in its transaction."""
    if job.kind == KIND and job.state.ended:
        repository.release(session, job.subject)


def _spec(compression: Compression) -> dict[str, Any]:
    return {
        "model": compression.parent,
        "model_name": compression.model_name,
        "dataset": compression.dataset_digest,
        "recipe": compression.recipe,
    }


def _checked(project: str, recipe: object, queue: str, key: str) -> Recipe:
    """Return the recipe, or raise every fault of the request together."""
    violations: list[Violation] = []
    try:
        check_name(project, "project")
    except InvalidError as error:
        violations += error.violations
    if queue and not NAME.fullmatch(queue):
        violations.append(Violation(field="queue", message=f"queue {queue!r} is not a valid name; such as cpu or gpu"))
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        message = f"idempotency_key must be printable and at most {MAX_KEY_CHARS} characters"
        violations.append(Violation(field="idempotency_key", message=message))
    told = [found.message for found in violations]
    try:
        read = Recipe.from_mapping(recipe)
    except InvalidError as error:
        violations += error.violations
        told.append(error.message)
    if violations:
        raise InvalidError("; ".join(told), violations=violations)
    return read


def _check_splits(dataset: DatasetRef, recipe: Recipe) -> None:
    needs = [EVALUATION_SPLIT]
    if any(variant.kind == "int8" for variant in recipe.variants):
        needs.append(CALIBRATION_SPLIT)
    lacking = [name for name in needs if name not in dataset.splits]
    if lacking:
        has = ", ".join(dataset.splits) or "none"
        message = f"the dataset has no samples in split {' and '.join(lacking)}; it has {has}"
        raise InvalidError(message + nearest(lacking[0], dataset.splits), field="dataset_digest")


def _check_variant(variant: Variant, compression: Compression) -> None:
    names = [found["name"] for found in compression.recipe["variants"]]
    if variant.name not in names:
        raise InvalidError(
            f"the recipe has no variant {variant.name!r}; it has {', '.join(names)}", field="variant.name"
        )
    if variant.verdict not in VERDICTS:
        raise InvalidError(f"verdict {variant.verdict!r} is none of {', '.join(VERDICTS)}", field="variant.verdict")
    if variant.digest:
        check_digest(variant.digest, "variant.digest")
    elif variant.verdict != "failed":
        raise InvalidError("a variant without a digest has the verdict 'failed'", field="variant.digest")
