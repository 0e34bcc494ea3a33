"""What the embedded form brings along: a real Redis and child processes that are kept running."""

from services.common.embedded.processes import Child, Household, failing_file
from services.common.embedded.redis import redis_command, redis_socket

__all__ = ["Child", "Household", "failing_file", "redis_command", "redis_socket"]
