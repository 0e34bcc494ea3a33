"""The client of a Modelwright server: `Client`, what it answers with, and what it raises."""

from modelwright.client.client import Client
from modelwright.client.records import JobFailedError
from modelwright.client.settings import ClientSettings

__all__ = ["Client", "ClientSettings", "JobFailedError"]
