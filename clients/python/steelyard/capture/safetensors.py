"""Headers of safetensors: a length of eight bytes, then JSON with an entry for each tensor."""

from __future__ import annotations

import json
from typing import Any

from steelyard.capture.reader import Header, HeaderUnreadable, Reader

LENGTH_BYTES = 8
JSON_BYTES_MAXIMUM = 8 * 1024 * 1024
# What libraries write as the `format` of a file, and the framework that loads it.
_FRAMEWORKS = {"pt": "pytorch", "tf": "tensorflow", "flax": "flax", "np": "numpy", "mlx": "mlx"}


def read(reader: Reader) -> Header:
    """Return the framework that wrote a file, and the types of its tensors; there is no schema.

    Raises:
        HeaderUnreadable: it is no such file, or its header is too large.
    """
    length = int.from_bytes(reader.read(0, LENGTH_BYTES), "little")
    if length > JSON_BYTES_MAXIMUM:
        raise HeaderUnreadable("its header is too large")
    members = _members(reader.read(LENGTH_BYTES, length))
    metadata = members.pop("__metadata__", {})
    written = metadata.get("format") if isinstance(metadata, dict) else None
    types = {each.get("dtype") for each in members.values() if isinstance(each, dict)}
    return Header(
        _FRAMEWORKS.get(str(written), "safetensors"),
        facts={"safetensors.dtype": tuple(sorted(each for each in types if isinstance(each, str)))},
    )


def _members(encoded: bytes) -> dict[str, Any]:
    try:
        members = json.loads(encoded)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise HeaderUnreadable("its header is no JSON object")
    return members
