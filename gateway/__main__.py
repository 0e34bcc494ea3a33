"""`python -m gateway`: REST and pages, until told to stop."""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from services.common.errors import InvalidError, ModelwrightError
from services.common.logs import configure_logging


@dataclass(frozen=True, kw_only=True)
class GatewayComposition:
    """The gateway, ready to be built."""

    settings: GatewaySettings

    def build_server(self, bell: object = None) -> GatewayServer:
        """Return the server; the gateway has no jobs, so it rings no bell."""
        del bell
        return GatewayServer(self.settings)


def compose(settings: GatewaySettings) -> GatewayComposition:
    """Return the gateway for these settings."""
    return GatewayComposition(settings=settings)


def serve_gateway(
    port: int | None = None, on_ready: Callable[[str], None] = lambda url: None, settings: GatewaySettings | None = None
) -> None:
    """Serve in this process until SIGTERM or SIGINT.

    Args:
        port: in place of the settings' port; 0 lets the system choose.
        on_ready: called with the root address once requests are answered.
        settings: read from the environment unless given.

    Raises:
        InvalidError: the settings are unsound, such as an open address without a token.
        UnavailableError: the address cannot be bound, or the database or storage is away.
    """
    own = settings or read_settings()
    if port is not None:
        own = own.model_copy(update={"gateway_port": port})
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = compose(own).build_server()
    server.start()
    try:
        on_ready(server.url)
        # A wait without a timeout would not let Python handle the signal.
        while not stopped.wait(1.0) and server.is_running:
            pass
    finally:
        server.stop(own.grace_s)


def read_settings() -> GatewaySettings:
    """Return the settings of the environment.

    Raises:
        InvalidError: they are unsound; every fault is named.
    """
    try:
        return GatewaySettings()
    except ValidationError as error:
        reasons = [_reason(one) for one in error.errors()]
        raise InvalidError("; ".join(reasons)) from error


def _reason(fault: ErrorDetails) -> str:
    where = f"MODELWRIGHT_{'_'.join(map(str, fault['loc'])).upper()}: " if fault["loc"] else ""
    return where + str(fault["msg"]).removeprefix("Value error, ")


def main() -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    try:
        settings = read_settings()
        configure_logging(settings.log_level, settings.log_format)
        serve_gateway(settings=settings)
    except ModelwrightError as error:
        sys.stderr.write(f"the gateway cannot start: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
