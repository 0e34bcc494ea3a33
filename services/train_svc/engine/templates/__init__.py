"""Ready-made architectures, by name."""

from services.train_svc.engine.templates.entry import Template
from services.train_svc.engine.templates.registry import describe, template, templates

__all__ = ["Template", "describe", "template", "templates"]
