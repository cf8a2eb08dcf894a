"""The rules of the registry, one file per noun. Knows neither gRPC nor protobuf."""
