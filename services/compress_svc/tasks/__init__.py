"""What compress_svc's workers do.

Importing this loads no engine: a worker's parent process needs the names alone, and its fork server preloads.
"""

KINDS = {"compress": "services.compress_svc.tasks.compress:compress"}
"""Kind of job to its body."""

PRELOAD = ("services.compress_svc.tasks.compress", "PIL.PngImagePlugin", "PIL.JpegImagePlugin")
"""Modules that a child should find imported; none of them starts a thread or touches a GPU when it is imported."""
