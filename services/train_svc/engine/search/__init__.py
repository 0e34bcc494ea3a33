"""Hyper-parameter search: Optuna on a store of our own, each trial a run with its own folder. Loads no engine."""
