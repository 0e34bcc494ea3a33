"""What TensorFlow and Keras keep of models that are gone."""

import keras


def forget() -> None:
    """Let go of Keras's global state; its graphs go with the models."""
    keras.utils.clear_session()
