"""Named steps from raw bytes to a float32 tensor, the same in training, calibration and serving."""

from services.common.preprocess.pipeline import Preprocess
from services.common.preprocess.registry import Step, known_steps, step

__all__ = ["Preprocess", "Step", "known_steps", "step"]
