"""Children of the embedded form."""

import json
import sys
import time

from services.common.embedded import Child, Household, failing_file


def test_a_child_that_keeps_ending_is_started_again_and_told(tmp_path):
    count = tmp_path / "count"
    program = f"open({str(count)!r}, 'a').write('x'); print('no disk here'); raise SystemExit(3)"
    household = Household(tmp_path / "logs", grace_s=5)
    household.start(Child(name="worker", command=[sys.executable, "-c", program]))
    deadline = time.monotonic() + 20
    while not failing_file(tmp_path).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    household.stop()
    assert json.loads(failing_file(tmp_path).read_text())["worker"] >= 2
    assert len(count.read_text()) >= 2
    assert "no disk here" in (tmp_path / "logs" / "worker.log").read_text()


def test_what_an_earlier_household_told_is_forgotten(tmp_path):
    failing_file(tmp_path).write_text('{"worker": 9}')
    Household(tmp_path / "logs", grace_s=5)
    assert not failing_file(tmp_path).exists()
