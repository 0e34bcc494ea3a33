"""What a generation has done: plain counters, read by `/metrics` and ModelStatistics."""

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Statistics:
    """Sums since the generation was loaded; times in nanoseconds."""

    success: int = 0
    """Requests answered."""
    failure: int = 0
    """Requests answered with an error."""
    inferences: int = 0
    """Rows answered."""
    executions: int = 0
    """Runs of the session; fewer than requests where batches form."""
    request_ns: int = 0
    """From the decoded request to its result, over successful requests."""
    queue_ns: int = 0
    """Waiting for an instance or for company."""
    input_ns: int = 0
    """Pre-processing and assembling batches."""
    infer_ns: int = 0
    """Inside ONNX Runtime."""
    output_ns: int = 0
    """Taking batches apart and post-processing."""
    pending: int = 0
    """Requests that wait now."""
    last_inference_ms: int = 0
    """Milliseconds since 1970."""
    batches: Counter[int] = field(default_factory=Counter)
    """Runs by their number of rows."""
    batch_infer_ns: Counter[int] = field(default_factory=Counter)
    """Time inside ONNX Runtime by number of rows."""

    def add_run(self, rows: int, infer_ns: int) -> None:
        """Count one run of the session."""
        self.executions += 1
        self.inferences += rows
        self.infer_ns += infer_ns
        self.batches[rows] += 1
        self.batch_infer_ns[rows] += infer_ns

    def add_request(self, started_ns: int) -> None:
        """Count one answered request."""
        self.success += 1
        self.request_ns += time.perf_counter_ns() - started_ns
        self.last_inference_ms = time.time_ns() // 1_000_000
