"""Random changes of training samples: drawn here on the host, made on the device by each engine's `augmenting`."""
