"""Children end with the process that started them, however that ended."""

import subprocess
import sys
import textwrap
import time

import psutil
import pytest

PARENT = """
    import subprocess, sys, time
    from services.common.embedded.tether import tethered
    child = subprocess.Popen(tethered([sys.executable, "-c", "import time; time.sleep(60)"]))
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_child_ends_with_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        # Until it has become the command it might not be tied yet.
        deadline = time.monotonic() + 20
        while "tether.py" in " ".join(child.cmdline()) and time.monotonic() < deadline:
            time.sleep(0.01)
        parent.kill()
    gone, _ = psutil.wait_procs([child], timeout=20)
    assert gone or child.status() == psutil.STATUS_ZOMBIE
