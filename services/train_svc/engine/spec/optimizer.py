"""What moves the weights, how fast, and within which bounds."""

from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.reading import Named, setting


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(Named):
    """What moves the weights. The name alone may stand for it: `optimizer: lion`."""

    name: Literal["adamw", "sgd", "lion", "adafactor", "adamw8bit"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101); SGD with Nesterov momentum; Lion (Chen et al. 2023, arXiv
    2302.06675); Adafactor (Shazeer and Stern 2018, arXiv 1804.04235); AdamW with moments of 8 bits (Dettmers et al.
    2022, arXiv 2110.02861), on torch."""
    lr: float = setting(3e-3, above=0, most=10)
    """Learning rate at the schedule's top."""
    weight_decay: float = setting(0.05, least=0, most=1)
    """Decay of matrices and kernels, apart from the gradient but for SGD; vectors (biases, norms) do not decay."""
    momentum: float = setting(0.9, least=0, below=1)
    """Of SGD; the first beta of AdamW and Lion."""
    beta2: float = setting(0.0, least=0, below=1)
    """Second beta of AdamW and Lion; 0: the usual one, 0.999 and 0.99."""
    eps: float = setting(1e-8, above=0, most=1)
    """Added to AdamW's root, so that nothing is divided by zero."""

    @property
    def betas(self) -> tuple[float, float]:
        """Weights of the past in the first and the second moment."""
        return self.momentum, self.beta2 or (0.99 if self.name == "lion" else 0.999)


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(Named):
    """How the learning rate goes over the run."""

    name: Literal["cosine", "constant", "wsd", "noam", "one_cycle", "linear"] = "cosine"
    """Cosine to the final share; constant; warm-up, stable, linear decay (arXiv 2404.06395); by the inverse root of the
    step (Vaswani et al. 2017); up and down once (Smith 2018, arXiv 1708.07120); linear to the final share."""
    warmup_epochs: float = setting(1.0, least=0)
    """Epochs of linear rise from zero; never more than half the run is used for it."""
    warmup_steps: int = setting(0, least=0)
    """The same in steps; above 0 it counts instead of `warmup_epochs`."""
    decay_fraction: float = setting(0.2, above=0, most=1)
    """Share of the run in which `wsd` decays."""
    final_fraction: float = setting(0.0, least=0, most=1)
    """Share of `lr` at the end."""


@dataclass(frozen=True, kw_only=True)
class ClipSpec(Named):
    """How gradients are kept from leaping. The name alone may stand for it: `clip: agc`."""

    name: Literal["none", "norm", "autoclip", "agc", "zclip"] = "none"
    """Nothing; to a largest norm (Pascanu et al. 2013); to a percentile of the norms so far, an adaptive threshold
    (AutoClip, Seetharaman et al. 2020, arXiv 2007.14469); unit by unit by the weights' norms (AGC, Brock et al. 2021,
    arXiv 2102.06171); by the z-score of the norm (ZClip, arXiv 2504.02507)."""
    max_norm: float = setting(1.0, above=0)
    """Of `norm`: largest norm of all gradients together."""
    percentile: float = setting(10.0, above=0, most=100)
    """Of `autoclip`: which percentile of the history is the threshold."""
    history: int = setting(1000, least=1, most=1_000_000)
    """Of `autoclip`: how many of the last norms are remembered."""
    ratio: float = setting(0.01, above=0)
    """Of `agc`: largest gradient norm of a unit, as a share of its weights' norm (1e-3 at least)."""
    z_score: float = setting(2.5, above=0)
    """Of `zclip`: norms further above the mean than this many deviations are clipped."""
    alpha: float = setting(0.97, above=0, below=1)
    """Of `zclip`: weight of the past in mean and variance."""
    warmup: int = setting(25, least=1)
    """Of `zclip`: steps whose norms are only looked at."""
