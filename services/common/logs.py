"""Logging to standard error, as text for people or JSON for collectors."""

import json
import logging
import sys
import time
from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the call being answered; set by servers, sent on by clients."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with its time (ISO 8601, UTC), level, logger, request id and message."""
        fields = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "request_id": REQUEST_ID.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure_logging(level: str, log_format: str) -> None:
    """Send every logger to standard error: as `text`, `json`, or `plain` where lines get their time elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    forms: dict[str, logging.Formatter] = {
        "text": logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", datefmt="%H:%M:%S"),
        "plain": logging.Formatter("%(levelname)-7s %(message)s"),
        "json": JsonFormatter(),
    }
    handler.setFormatter(forms[log_format])
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("alembic", "httpx", "uvicorn.error"):
        # They tell each step or request at INFO.
        logging.getLogger(name).setLevel("WARNING")
