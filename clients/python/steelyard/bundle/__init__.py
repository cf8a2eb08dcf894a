"""Bundles: versions in one file, with all that belongs to them, on their way from one registry to another.

A bundle is an uncompressed tar of these members, in this order and no others:

bundle.json         its format, the registry it comes from, when it was made, and what was asked for
models.jsonl        a line for each model: protobuf JSON of it and of its aliases
versions.jsonl      a line for each version: its manifest as text, and protobuf JSON of the rest
evaluations.jsonl   a line for each evaluation: protobuf JSON
events.jsonl        a line for each event of the models: its bytes as text, and the texts that it binds
blobs/sha256/<hex>  the bytes of each file and report, once
index.jsonl         a line for each member before it: its name, size and sha256; then their count

Headers have nothing but name and size, and padding is zero, so that no bit of the file can change
unseen. What is read here was written by somebody else: every rule is checked before anything is used.
"""
