"""What a run may do to take less memory, and the search for the cheapest of it that keeps a budget. Loads no engine."""

from services.train_svc.engine.memory.estimating import Probe
from services.train_svc.engine.memory.exhaustion import explain_out_of_memory, is_out_of_memory, size_text
from services.train_svc.engine.memory.fitting import FitBatch, fit_batch
from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures, Rung, ladder, spread
from services.train_svc.engine.memory.places import labelled_places
from services.train_svc.engine.memory.planning import plan_memory
from services.train_svc.engine.memory.plans import MARGIN, MemoryPlan, Row, tighter

__all__ = [
    "MARGIN",
    "NOTHING",
    "FitBatch",
    "Ladder",
    "Measures",
    "MemoryPlan",
    "Probe",
    "Row",
    "Rung",
    "explain_out_of_memory",
    "fit_batch",
    "is_out_of_memory",
    "labelled_places",
    "ladder",
    "plan_memory",
    "size_text",
    "spread",
    "tighter",
]
