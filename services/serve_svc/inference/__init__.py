"""The inference server: the Open Inference Protocol over REST and gRPC in front of the engine."""
