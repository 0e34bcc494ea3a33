"""Runs, metrics, checkpoints, the model registry and the training engine."""
