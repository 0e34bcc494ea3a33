"""`python -m gateway`: REST and pages, until told to stop."""

import logging
import signal
import sys
import threading
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from services.common.errors import ModelwrightError
from services.common.logs import configure_logging

log = logging.getLogger("modelwright.gateway")


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


def main() -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    try:
        settings = GatewaySettings()
    except ValidationError as error:
        reasons = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        sys.stderr.write(f"the gateway cannot start: {reasons}\n")
        return 2
    configure_logging(settings.log_level, settings.log_format)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    server = compose(settings).build_server()
    try:
        server.start()
    except ModelwrightError as error:
        log.error("%s", error.message)
        return 1
    while not stopped.wait(1.0):
        pass
    server.stop(settings.grace_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
