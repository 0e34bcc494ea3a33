"""Settings of compress_svc: the common ones and its own."""

from pydantic_settings import SettingsConfigDict

from services.common.settings import CommonSettings


class CompressSettings(CommonSettings):
    """What compress_svc needs to run; its own fields are read from `MODELWRIGHT_COMPRESS_*`."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_", frozen=True, extra="ignore")

    compress_default_queue: str = "cpu"
    """Queue of a compression that names none."""
