"""One door to the builders, and to weights on disk."""

from typing import Any

from services.train_svc.engine.engines import Engine, load_engine
from services.train_svc.engine.sources import Source, as_description


def build(source: Source, *, engine: Engine = "torch", device: str = "cpu") -> Any:  # noqa: ANN401 - see Returns
    """Return the model of a description or of its YAML file.

    Args:
        source: the description, or the path of an `architecture.yaml`.
        engine: who runs it. Only this engine is imported.
        device: where torch's parameters live; "meta" allocates nothing. TensorFlow places its own.

    Returns:
        "torch": a plain `torch.nn.Module`; "tensorflow": a `keras.Model`. Both have a `step` for streams and loops.

    Raises:
        InvalidError: the file or the engine is unknown, the engine is not installed, or the description is wrong.
    """
    description = as_description(source)
    made = load_engine(engine)
    return made.build_torch(description, device) if engine == "torch" else made.build_tensorflow(description)
