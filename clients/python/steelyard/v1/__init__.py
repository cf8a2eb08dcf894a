"""Generated messages and services of the proto package steelyard.v1; `make gen` writes them."""
