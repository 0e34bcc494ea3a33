"""Search over 100,000 runs by a metric and a parameter, through RunService.ListRuns.

Target: p95 under 100 ms. The last searches are the hard ones: conditions that most runs meet each but none all.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from benchmarks.keep import Row, figure, record
from benchmarks.train_server import database, serving
from proto.gen.modelwright.train.v1 import run_pb2 as pb
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.db import Database
from services.common.rpc import Peer, call
from services.train_svc.models import METADATA, SCHEMA
from services.train_svc.models.tables import metric_last, names, run_values, runs

COUNTED = "metric and param"
SEARCHES = {
    "metric and param, 1 in 100": ("metrics.accuracy > 0.9 and params.lr = '0.001'", ""),
    "metric and param, by the metric": ("metrics.accuracy > 0.9 and params.lr = '0.001'", "metrics.accuracy desc"),
    "metric and param, 1 in 10,000": ("metrics.accuracy > 0.999 and params.lr = '0.001'", ""),
    "metric, param, tag and state": (
        "metrics.accuracy > 0.5 and params.lr = '0.001' and tags.team = 'speech' and state = 'failed'",
        "metrics.loss",
    ),
    "no filter": ("", ""),
    "no filter, by a metric": ("", "metrics.accuracy desc"),
    "half and half, none both": ("metrics.accuracy > 0.5 and metrics.loss >= 0.5", ""),
    "half and half, by the metric": ("metrics.accuracy > 0.5 and metrics.loss >= 0.5", "metrics.accuracy desc"),
    "name like, none": ("name like '%nothing%'", ""),
}
METRICS, PARAMS = ("accuracy", "loss", "f1", "epoch", "seconds"), ("lr", "batch_size", "seed", "model", "optimizer")
RATES = [f"0.{'0' * zeros}{digit}" for zeros in (1, 2) for digit in (1, 2, 3, 5, 8)]


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for kind in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory(prefix="mw") as folder, database(kind, Path(folder)) as url:
            fill(url, options.runs)
            with serving(url, folder) as address:
                rows += [{"database": kind, "runs": options.runs, **row} for row in measure(address, options.repeats)]
    record("run_search", rows, [figure_of(rows, kind) for kind in ("sqlite", "postgresql")])


def figure_of(rows: list[dict[str, Any]], kind: str) -> Row:
    """Return the figure of the searches by a metric and a parameter: the slowest of them."""
    slowest = max(row["p95_ms"] for row in rows if row["database"] == kind and row["search"].startswith(COUNTED))
    return figure(f"run search by a metric and a parameter, p95, {kind}", slowest, "ms", under=100)


def measure(address: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield the latencies of each search."""
    peer = Peer(address)
    stub = peer.stub(RunServiceStub)
    for title, (text_, order) in SEARCHES.items():
        request = pb.ListRunsRequest(project="bench", filter=text_, order_by=order)
        found = len(call(stub.ListRuns, request).runs)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call(stub.ListRuns, request)
            times.append((time.perf_counter() - start) * 1000)
        p95 = statistics.quantiles(times, n=20)[-1]
        yield {"search": title, "found": found, "p50_ms": round(statistics.median(times), 1), "p95_ms": round(p95, 1)}
    peer.close()


def fill(url: str, count: int) -> None:
    """Write runs with five metrics, five parameters and two tags each, straight into the tables."""
    store, chance = Database(url, SCHEMA, METADATA), random.Random(0)
    store.migrate("services.train_svc.migrations")
    kinds = [("metric", name) for name in METRICS] + [("param", name) for name in PARAMS]
    kinds += [("tag", "team"), ("tag", "stage")]
    with store.write() as session:
        session.execute(insert(names), [{"project": "bench", "kind": kind, "name": name} for kind, name in kinds])
    for start in range(1, count + 1, 5000):
        keys = range(start, min(start + 5000, count + 1))
        made = [row for key in keys for row in rows_of(key, chance)]
        with store.write() as session:
            for table in (runs, run_values, metric_last):
                session.execute(insert(table), [values for kind, values in made if kind == table.name])
    if not store.is_sqlite:
        with store.write() as session:
            session.execute(text("SELECT setval(pg_get_serial_sequence('runs', 'key'), :key)"), {"key": count})
            session.execute(text("ANALYZE"))  # As autovacuum has done by the time there are so many.
    store.close()


def rows_of(key: int, chance: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of one run; its accuracy is spread evenly, and its loss is what is left."""
    accuracy = chance.random()
    texts = dict.fromkeys(("engine", "code_version", "environment_json", "hardware_json", "job_id", "error"), "")
    state = "failed" if chance.random() < 0.1 else "succeeded"
    yield "runs", {
        "key": key, "id": f"run_{key:026}", "project": "bench", "name": f"sweep-{key}", "state": state,
        "dataset_digest": "", "seed": key, "spec_json": "{}", "request_digest": "", "started_at": 1.7e9 + key,
        "created_at": 1.7e9 + key, "finished_at": 1.7e9 + key + 60, **texts,
    }  # fmt: skip
    values = [accuracy, 1 - accuracy, accuracy / 2, float(key % 50), chance.random()]
    for name_id, value in enumerate(values, start=1):
        last = {"step": 100, "value": value, "time": 1.7e9, "rewinds": 0, "rewound_step": 0}
        yield "metric_last", {"run_key": key, "name_id": name_id, **last}
    words = [RATES[key % 10], str(32 << key % 4), str(key), "resnet_small", "adamw", "speech" if key % 2 else "vision"]
    for name_id, word in enumerate([*words, "try"], start=1 + len(METRICS)):
        yield "run_values", {"run_key": key, "name_id": name_id, "head": word, "value": word}


if __name__ == "__main__":
    main()
