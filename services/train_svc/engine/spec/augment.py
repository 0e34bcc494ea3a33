"""How training samples are changed at random, drawn anew for each."""

from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.reading import Checked, setting


@dataclass(frozen=True, kw_only=True)
class AugmentSpec(Checked):
    """Random changes of single training pictures. All zero: none."""

    shift_pixels: float = setting(0.75, least=0)
    """Largest shift along each axis."""
    rotate_degrees: float = setting(8.0, least=0, most=180)
    """Largest turn to either side."""
    scale: float = setting(0.1, least=0, below=1)
    """Largest share by which it grows or shrinks."""
    padding: Literal["zeros", "border"] = "zeros"
    """What comes in at the edges: black, or the nearest pixel."""
    flip: float = setting(0.0, least=0, most=1)
    """Probability of a mirror image, left for right."""
    crop_scale: float = setting(1.0, above=0, most=1)
    """Least share of the area that a random crop keeps, resized back (Szegedy et al. 2015: 0.08); 1: no crops."""
    erase: float = setting(0.0, least=0, most=1)
    """Probability that a random rectangle is blanked to the mean (RandomErasing, Zhong et al. 2017, arXiv 1708.04896;
    area 0.02 to 0.33, side ratio 0.3 to 3.3)."""


@dataclass(frozen=True, kw_only=True)
class MixSpec(Checked):
    """Random blends of pairs of training samples and of their labels. All zero: none.

    Where several are on, each batch draws one of them.
    """

    mixup: float = setting(0.0, least=0)
    """Alpha of MixUp's Beta(alpha, alpha) (Zhang et al. 2018, arXiv 1710.09412)."""
    cutmix: float = setting(0.0, least=0)
    """Alpha of CutMix's Beta(alpha, alpha) (Yun et al. 2019, arXiv 1905.04899)."""
    specmix: float = setting(0.0, least=0)
    """Gamma of SpecMix: widest band as a share of an axis (Kim et al. 2021, arXiv 2108.03020); up to three bands of
    time and of frequency. For [time, features]."""
    probability: float = setting(1.0, least=0, most=1)
    """Share of the batches that are blended."""


@dataclass(frozen=True, kw_only=True)
class MaskSpec(Checked):
    """SpecAugment on log-mel features [time, features] (Park et al. 2019, arXiv 1904.08779). All zero: none."""

    frequency_masks: int = setting(0, least=0, most=20)
    """Bands of features that are zeroed."""
    frequency_width: int = setting(27, least=0)
    """F: each is narrower than this."""
    time_masks: int = setting(0, least=0, most=20)
    """Stretches of time that are zeroed."""
    time_width: int = setting(100, least=0)
    """T: each is shorter than this, in frames."""
    time_share: float = setting(1.0, above=0, most=1)
    """p: and at most this share of the recording."""
