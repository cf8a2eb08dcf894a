"""The bytes of blobs."""
