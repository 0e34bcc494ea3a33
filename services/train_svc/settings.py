"""Settings of train_svc: the common ones and its own."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import CommonSettings


class TrainSettings(CommonSettings):
    """What train_svc needs to run; its own fields are read from `MODELWRIGHT_TRAIN_*`."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_", frozen=True, extra="ignore")

    train_default_queue: str = "cpu"
    """Queue of a training that names none."""
    train_ingest_queue_points: int = Field(default=1_000_000, ge=1)
    """Metric points that may wait for the writer; beyond, callers are told to come back (about 150 MB at 1,000,000)."""
    train_ingest_group_points: int = Field(default=20_000, ge=1)
    """Points written in one transaction at most; more makes fewer commits and longer ones."""
    train_ingest_timeout_s: float = Field(default=30.0, gt=0)
    """How long a caller waits for its points to be durable before it is told to try again."""
