"""Every service in one process: the embedded form that `modelwright up` runs.

The four services and the gateway share this process; a real Redis, one worker and one inference
server run beside it. All state is under the home folder. Each part is the program that a cluster
runs alone, with other settings.
"""

import argparse
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from services.common.embedded import Child, Household, failing_file, redis_command
from services.common.embedded.ports import PortTurn, free_port, wait_until_bound
from services.common.errors import ConflictError, InvalidError, ModelwrightError, UnavailableError
from services.common.logs import configure_logging
from services.common.settings import CommonSettings

if TYPE_CHECKING:
    from services.common.rpc import RpcServer

log = logging.getLogger("modelwright")

READY_TIMEOUT_S = 60.0
INFERENCE_TIMEOUT_S = 10.0
"""How long the platform's own readiness waits for the inference server's; it is restarted if it fails."""
MAX_PORT = 65535
PYTHON = (sys.executable, "-P")
"""Without the current folder on the path: a user's own `triton.py` there must not pass for the real one."""
ADDRESSES = ("data", "train", "compress", "serve")


def up(home: Path, port: int = 8080, *, detach: bool = False) -> dict[str, Any]:
    """Start the platform; return what `status` says once it is ready, or after it was stopped.

    Args:
        home: folder of all its state.
        port: of the gateway; 0 lets the system choose.
        detach: return once it is ready and leave it running.

    Raises:
        InvalidError: the home cannot hold files, or there is no such port.
        ConflictError: one runs there already.
        UnavailableError: it did not become ready; the message names the log.
    """
    if not detach:
        run(home, port)
        return {}
    _open_lock(home, port).close()
    if running := status(home):
        return running
    output = home / "logs" / "platform.log"
    with output.open("ab") as stream:
        before = stream.tell()
        command = [*PYTHON, "-m", "services", "--home", str(home), "--port", str(port)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    return _wait_until_ready(home, process, output, before)


def down(home: Path, timeout_s: float = 60.0) -> bool:
    """Stop the platform of `home`; False if none runs."""
    found = status(home)
    if not found:
        return False
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while status(home):
        if time.monotonic() > deadline:
            raise UnavailableError(f"the platform (process {found['pid']}) did not stop within {timeout_s:.0f} s")
        time.sleep(0.05)
    return True


def status(home: Path) -> dict[str, Any]:
    """Return process id, URL and addresses of the platform that runs in `home`; empty if none does."""
    try:
        found: dict[str, Any] = json.loads((home / "platform.json").read_text())
        with (home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except (OSError, ValueError):
        pass
    return {}


def failing(home: Path) -> dict[str, int]:
    """Return the parts of the platform in `home` that keep ending, and how often they did in a row."""
    try:
        found: dict[str, int] = json.loads(failing_file(home).read_text())
    except (OSError, ValueError):
        return {}
    return found


def run(home: Path, port: int) -> None:
    """Run the platform in this process until SIGTERM or SIGINT."""
    home = home.absolute()
    with _open_lock(home, port) as lock:
        _hold(lock, home)
        # One that was killed left this behind; it would pass for ours.
        (home / "platform.json").unlink(missing_ok=True)
        turn = PortTurn(READY_TIMEOUT_S)
        environment = _environment(home)
        os.environ.update(environment)
        settings = CommonSettings()
        configure_logging(settings.log_level, settings.log_format)
        household = Household(home / "logs", settings.grace_s + 5)
        try:
            _start_redis(household, settings)
            _serve(home, port, household, environment, turn)
        finally:
            turn.end()
            household.stop()
            (home / "platform.json").unlink(missing_ok=True)


def _serve(home: Path, port: int, household: Household, environment: dict[str, str], turn: PortTurn) -> None:
    # Imported here: `status` and `down` must not pay for them.
    import services.compress_svc.__main__ as compress  # noqa: PLC0415
    import services.data_svc.__main__ as data  # noqa: PLC0415
    import services.serve_svc.__main__ as serve  # noqa: PLC0415
    import services.train_svc.__main__ as train  # noqa: PLC0415
    from gateway.__main__ import serve_gateway  # noqa: PLC0415

    servers: list[RpcServer] = []
    try:
        # In the order of who calls whom: a service's address is known before another needs it.
        for name, part in (("data", data), ("train", train), ("compress", compress), ("serve", serve)):
            servers.append(part.build_server())
            servers[-1].start()
            _publish(environment, f"MODELWRIGHT_{name.upper()}_ADDRESS", servers[-1].address)
        rest, grpc = free_port(8081), free_port(8082)
        inference = [*PYTHON, "-m", "services.serve_svc", "inference"]
        inference += ["--port", str(rest), "--grpc-port", str(grpc)]
        household.start(Child(name="inference", command=inference, environment=environment))
        # Two workers: a commit need not wait for a training, nor for the training frameworks to load.
        for name, employers in (("worker-data", "data_svc"), ("worker-models", "train_svc,compress_svc")):
            command = [*PYTHON, "-m", "services", "worker", "--services", employers, "--queues", _queues()]
            household.start(Child(name=name, command=command, environment=environment))
        addresses = {server.name: server.address for server in servers}
        addresses.update(inference_rest=f"http://127.0.0.1:{rest}", inference_grpc=f"127.0.0.1:{grpc}")

        def announce(url: str) -> None:
            wait_until_bound(rest, INFERENCE_TIMEOUT_S)
            turn.end()
            _announce(home, url, addresses)

        serve_gateway(port, on_ready=announce)
    finally:
        # Workers first: what they checkpoint, and the jobs they give back, go to the services.
        household.stop()
        for server in reversed(servers):
            server.stop()


def work(names: Sequence[str], queues: Sequence[str], slots: int) -> None:
    """Run one worker for the jobs of the named services."""
    import services.compress_svc.__main__ as compress  # noqa: PLC0415
    import services.data_svc.__main__ as data  # noqa: PLC0415
    import services.train_svc.__main__ as train  # noqa: PLC0415
    from services.common.runtime import run_worker  # noqa: PLC0415

    settings = CommonSettings()
    configure_logging(settings.log_level, settings.log_format)
    employers = [part.employer() for part in (data, train, compress)]
    run_worker([one for one in employers if one.service in names], queues, slots, settings)


def _environment(home: Path) -> dict[str, str]:
    """Return the settings that hold for every process of the embedded form; what the user has set stays."""
    settings = CommonSettings(home=home)
    chosen = {"MODELWRIGHT_HOME": str(home)}
    for name in ADDRESSES:
        host, port = getattr(settings, f"{name}_address").rsplit(":", 1)
        # A port that is taken is left to the system to choose, once it is bound.
        chosen[f"MODELWRIGHT_{name.upper()}_ADDRESS"] = f"{host}:{port if free_port(int(port)) == int(port) else 0}"
    return chosen


def _open_lock(home: Path, port: int) -> TextIO:
    """Make the home and return its lock file, before anything is started that would need either."""
    if not 0 <= port <= MAX_PORT:
        raise InvalidError(f"there is no port {port}; give one from 1 to {MAX_PORT}, or 0 for any", field="port")
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        return (home / "lock").open("a")
    except OSError as error:
        raise InvalidError(
            f"{home} cannot be the platform's home ({error.strerror}); give a folder that can be written with --home "
            "or MODELWRIGHT_HOME",
            field="home",
        ) from error


def _publish(environment: dict[str, str], name: str, value: str) -> None:
    """Make a setting known to this process and to children that are started from now on."""
    environment[name] = os.environ[name] = value


def _hold(lock: TextIO, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        url = status(home).get("url", "still starting")
        raise ConflictError(f"a platform runs in {home} already ({url}); stop it with `modelwright down`") from None


def _start_redis(household: Household, settings: CommonSettings) -> None:
    if not settings.broker_url:
        household.start(Child(name="redis", command=redis_command(settings.home)))


def _queues() -> str:
    from services.common.hardware import gpus  # noqa: PLC0415

    return "gpu,cpu" if gpus() else "cpu"


def _announce(home: Path, url: str, addresses: dict[str, str]) -> None:
    found = {"pid": os.getpid(), "url": url, "addresses": addresses, "started_at": time.time()}
    partial = home / "platform.json.partial"
    partial.write_text(json.dumps(found, indent=2))
    partial.replace(home / "platform.json")
    log.info("ready at %s", url)


def _wait_until_ready(home: Path, process: "subprocess.Popen[bytes]", output: Path, before: int) -> dict[str, Any]:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if (found := status(home)) and found["pid"] == process.pid:
            return found
        time.sleep(0.02)
    process.terminate()
    with output.open("rb") as stream:
        stream.seek(before)
        said = stream.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    reason = said[-1] if process.poll() is not None else f"it was not ready after {READY_TIMEOUT_S:.0f} s"
    raise UnavailableError(f"the platform did not start: {reason} (its log is {output})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m services [--home H] [--port P]` or `python -m services worker --queues cpu`."""
    parser = argparse.ArgumentParser(prog="python -m services")
    parser.add_argument("--home", type=Path, default=CommonSettings().home)
    parser.add_argument("--port", type=int, default=8080)
    worker = parser.add_subparsers(dest="role").add_parser("worker", help="do the jobs of some services")
    worker.add_argument("--services", default="data_svc,train_svc,compress_svc")
    worker.add_argument("--queues", default="cpu")
    worker.add_argument("--slots", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        if options.role == "worker":
            work(options.services.split(","), options.queues.split(","), options.slots)
        else:
            run(options.home, options.port)
    except ModelwrightError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
