"""Inference without a wire: model packages, sessions, batching, generations and their replacement."""
