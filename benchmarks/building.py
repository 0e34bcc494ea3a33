"""What a description costs before anything runs: the import, a description, and Llama-3-8B on the meta device.

    python -m benchmarks.building [--times 7]

Each in processes of their own, as a user meets it; the build's clock begins when torch is loaded. Targets: importing
`modelwright.train` under 0.2 s, building Llama-3-8B under 2 s.
"""

import argparse
import statistics
import subprocess
import sys

from benchmarks.keep import Row, figure, record

IMPORT = "import modelwright.train"
DESCRIBE = "from modelwright.train import describe; describe('bert')"
NAMES = "import torch; from modelwright.train import build, describe"
BUILD = "build(describe('llama', size='llama-3-8b'), device='meta')"
CLOCK = "import time; start = time.perf_counter(); {code}; print(time.perf_counter() - start)"
PROGRAMS = {
    "import modelwright.train": CLOCK.format(code=IMPORT),
    "import, and describe BERT": CLOCK.format(code=DESCRIBE),
    "build Llama-3-8B on meta": f"{NAMES}; {CLOCK.format(code=BUILD)}",
}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    rows = [measured(what, program, options.times) for what, program in PROGRAMS.items()]
    imported, _, built = (row["median_s"] for row in rows)
    figures = [
        figure("import of modelwright.train", imported, "s", under=0.2),
        figure("Llama-3-8B on the meta device", built, "s", under=2),
    ]
    record("building", rows, figures)


def measured(what: str, program: str, times: int) -> Row:
    """Return the seconds that a program says of itself."""
    found = [
        float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
        for _ in range(times)
    ]
    shown = {"median_s": statistics.median(found), "least_s": min(found), "most_s": max(found)}
    return {"what": what, **{name: round(value, 4) for name, value in shown.items()}}


if __name__ == "__main__":
    main()
