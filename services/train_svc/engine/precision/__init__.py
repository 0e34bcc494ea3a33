"""Which operators of a model compute in which number format: measured, written down, edited. Loads no engine."""

from services.train_svc.engine.precision.deciding import Limits, decide
from services.train_svc.engine.precision.file import read_policy, write_policy
from services.train_svc.engine.precision.policy import Base, Difference, Format, Operator, Policy

__all__ = ["Base", "Difference", "Format", "Limits", "Operator", "Policy", "decide", "read_policy", "write_policy"]
