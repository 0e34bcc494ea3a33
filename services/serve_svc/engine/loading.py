"""From files to a generation that may take traffic: built, proven and warm."""

import logging
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from services.common.errors import InvalidError, ModelwrightError
from services.serve_svc.engine.batching import Feeds, Scheduler
from services.serve_svc.engine.generation import Generation, Identity
from services.serve_svc.engine.golden import read_golden, replay
from services.serve_svc.engine.options import ServingOptions
from services.serve_svc.engine.package import Package
from services.serve_svc.engine.pipeline import Pipeline, Preprocess
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.signature import ANY, Signature
from services.serve_svc.engine.statistics import Statistics

log = logging.getLogger("modelwright.serve")

SLOW_NS = 5_000_000
"""A run slower than this gains from more threads than one."""
WARM_RUNS = 7
WARM_NS = 300_000_000
"""Warm-up ends after this long at the latest."""

ReadPreprocess = Callable[[Path], Preprocess]


def load(package: Package, identity: Identity, options: ServingOptions, read_preprocess: ReadPreprocess) -> Generation:
    """Build a session, replay the golden inputs, warm up; run it off the serving loop.

    Raises:
        InvalidError: a file is damaged, the signature does not fit the graph, or a golden output deviates.
    """
    began = time.perf_counter()
    pipeline = Pipeline(
        preprocess=read_preprocess(package.preprocess) if package.preprocess else None, labels=package.labels
    )
    session = Session(package.model, threads=options.threads or 1)
    signature = package.signature or session.graph
    check_signature(signature, session.graph)
    if package.golden:
        replay(session, signature, package.golden)
    feeds = _sample(package, signature)
    run_ns = warm_up(session, feeds)
    cores = (os.cpu_count() or 1) // options.instances
    if not options.threads and run_ns > SLOW_NS and cores > 1:
        session = Session(package.model, threads=cores)
        run_ns = warm_up(session, feeds)
    session.outputs = [spec.name for spec in signature.outputs]
    counters = Statistics()
    elements = sum(array.size for array in feeds.values()) or 1
    scheduler = Scheduler(session, options, counters, element_ns=run_ns / elements, batches=signature.batches)
    log.info(
        "model %s version %s loaded in %.2f s: %.0f us a run, %d thread(s)",
        *(identity.model, identity.version, time.perf_counter() - began, run_ns / 1000, session.threads),
    )
    return Generation(identity, signature, pipeline, scheduler, counters)


def check_signature(signature: Signature, graph: Signature) -> None:
    """Refuse a signature that names tensors otherwise than the graph does."""
    for role, said, real in (
        ("input", signature.inputs, graph.inputs),
        ("output", signature.outputs, graph.outputs),
    ):
        have = {spec.name: spec for spec in real}
        for spec in said:
            if spec.name not in have:
                raise InvalidError(
                    f"signature.json names the {role} {spec.name!r}, but the graph has "
                    + ", ".join(f"{name!r}" for name in have),
                    field="signature.json",
                )
            if have[spec.name].kind is not spec.kind:
                raise InvalidError(
                    f"signature.json says {role} {spec.name!r} is {spec.kind.name}, but the graph says "
                    f"{have[spec.name].kind.name}",
                    field="signature.json",
                )
    missing = [spec.name for spec in graph.inputs if spec.name not in {s.name for s in signature.inputs}]
    if missing:
        raise InvalidError(f"signature.json leaves out the input '{missing[0]}'", field="signature.json")


def warm_up(session: Session, feeds: Feeds) -> float:
    """Run a few times and return the median nanoseconds of a run; infinity if the sample does not run."""
    took: list[int] = []
    try:
        session.run(feeds)
        while len(took) < WARM_RUNS and sum(took) < WARM_NS:
            began = time.perf_counter_ns()
            session.run(feeds)
            took.append(time.perf_counter_ns() - began)
    except ModelwrightError as error:
        log.info("the model cannot be warmed up with zeros (%s); it runs in a thread", error)
        return float("inf")
    return float(statistics.median(took))


def _sample(package: Package, signature: Signature) -> Feeds:
    """Return one row of the golden inputs, or zeros."""
    golden = read_golden(package.golden)[0] if package.golden else {}
    feeds: Feeds = {}
    for spec in signature.inputs:
        shape = tuple(1 if size == ANY else size for size in spec.shape)
        if spec.kind.size == 0:
            feeds[spec.name] = np.full(shape, b"", np.object_)
        elif spec.name in golden:
            array = np.ascontiguousarray(golden[spec.name], spec.kind.dtype)
            feeds[spec.name] = array[:1] if signature.batches else array
        else:
            feeds[spec.name] = np.zeros(shape, spec.kind.dtype)
    return feeds
