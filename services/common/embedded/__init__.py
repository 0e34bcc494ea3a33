"""What the embedded form brings along: a real Redis and child processes that are kept running."""

from services.common.embedded.processes import Child, Household
from services.common.embedded.redis import redis_command, redis_socket

__all__ = ["Child", "Household", "redis_command", "redis_socket"]
