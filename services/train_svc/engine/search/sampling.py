"""What the next trial tries."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from services.train_svc.engine.search.spec import WHOLE, Parameter, PrunerSpec


class SeededTpe(BaseSampler):
    """A tree-structured Parzen estimator (Bergstra et al. 2011) whose draws can be made again.

    They follow from the seed, the trial's number, and what ended trials gave: a search that is resumed draws what the
    unbroken one would have drawn.

    Args:
        seed: of all draws.
        random_trials: so many trials end before it learns from them.
    """

    def __init__(self, seed: int, random_trials: int) -> None:
        self._seed, self._random_trials = seed, random_trials
        self._number, self._sampler = -1, TPESampler(seed=0)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are drawn together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw parameters together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - of any kind
        """Draw one parameter."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:  # noqa: ANN401
        """Take notice that a trial ended."""
        self._of(trial).after_trial(study, trial, state, values)

    def _of(self, trial: FrozenTrial) -> TPESampler:
        if trial.number != self._number:
            seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
            self._number = trial.number
            self._sampler = TPESampler(seed=seed, n_startup_trials=self._random_trials, multivariate=True)
        return self._sampler


def draw(trial: Trial, name: str, parameter: Parameter) -> Any:  # noqa: ANN401 - of any kind
    """Return what a parameter is in a trial; it is drawn once."""
    if parameter.kind == "choice":
        return trial.suggest_categorical(name, parameter.choices)
    if parameter.kind in WHOLE:
        return trial.suggest_int(name, int(parameter.low), int(parameter.high), log=parameter.kind == "log_int")
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.kind == "log")


def pruner_of(spec: PrunerSpec) -> BasePruner:
    """Return Optuna's form of a pruner; what it counts in are epochs."""
    if spec.name == "none":
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=spec.min_epochs, reduction_factor=spec.factor)
