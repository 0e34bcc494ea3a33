"""Which metric tells whether a model got better."""

from typing import Literal

from services.train_svc.engine.spec import LossSpec

Direction = Literal["rise", "fall"]

FALLING = ("loss", "error", "cer", "wer", "mer", "mer_zh", "mer_en", "perplexity", "mae", "rmse", "mase")
"""Last words of the names of metrics of which less is better."""
SPEECH = ("ctc", "ctc_attention", "attention", "rnnt")

_PRIMARY = {
    "cross_entropy": "accuracy",
    **dict.fromkeys(SPEECH, "cer"),
    "language_model": "perplexity",
    "masked_lm": "perplexity",
    "segmentation": "miou",
    "regression": "rmse",
    "forecast": "rmse",
}


def primary(loss: LossSpec) -> tuple[str, Direction]:
    """Return the metric that early stopping and the best checkpoints go by, and where it shall go."""
    name = _PRIMARY[loss.name]
    return name, "rise" if goes_up(name) else "fall"


def goes_up(name: str) -> bool:
    """Say whether more of a metric is better.

    Errors and losses shall fall: `*loss`, `*error`, `cer`, `wer`, `mer` and its parts, `perplexity`, `mae`, `rmse`,
    `mase`, whatever stands before them, such as `validation_`. All else shall rise. An end of an interval goes as what
    it belongs to.
    """
    whole = name.removesuffix("_ci_low").removesuffix("_ci_high")
    return not (whole.endswith(("loss", "error")) or any(_ends_with_word(whole, word) for word in FALLING))


def _ends_with_word(name: str, word: str) -> bool:
    return name == word or name.endswith((f"_{word}", f"/{word}", f".{word}"))
