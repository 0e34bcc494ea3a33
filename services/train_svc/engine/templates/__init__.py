"""Ready-made architectures, by name."""

from services.train_svc.engine.templates.registry import Template, describe, template, templates

__all__ = ["Template", "describe", "template", "templates"]
