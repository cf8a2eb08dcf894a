"""The gRPC edge: admit, guard, translate, call, translate."""
