"""In which number formats a run computes."""

from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.reading import Named, setting

PrecisionName = Literal["auto", "fp32", "tf32", "fp16", "bf16", "fp8"]


@dataclass(frozen=True, kw_only=True)
class Precision(Named):
    """In which number formats a run computes; weights, moments and sums stay float32.

    The name alone may stand for it: `precision: bf16`, `Precision("bf16")`.
    """

    name: PrecisionName = "auto"
    """auto: bf16 where the card computes it fast, else fp32. fp32; tf32: float32 whose products keep 10 bits; fp16 with
    dynamic loss scaling; bf16; fp8: bf16 with the large linear layers in float8 where the card has it."""
    policy: str = ""
    """Path of a measured policy file, which names the precision of single operators; `modelwright train sensitivity`
    writes it. Empty: the engine's own list of what stays float32."""
    loss_scale: float = setting(65536.0, above=0)
    """First loss scale of fp16 (Micikevicius et al. 2018, arXiv 1710.03740)."""
    growth_interval: int = setting(2000, least=1)
    """Steps without overflow after which the scale doubles; an overflow halves it, and that step is not made."""

    def __init__(
        self,
        name: PrecisionName = "auto",
        *,
        policy: str = "",
        loss_scale: float = 65536.0,
        growth_interval: int = 2000,
    ) -> None:
        for field, value in (("name", name), ("policy", policy), ("loss_scale", loss_scale)):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "growth_interval", growth_interval)
        self.__post_init__()
