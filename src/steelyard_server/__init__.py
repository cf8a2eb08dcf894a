"""The Steelyard server: a model registry that is one gRPC service."""
