"""Files of weights: ONNX written by its own library, safetensors and GGUF written by hand."""

from __future__ import annotations

import json
import struct
from typing import Any

import onnx
from onnx import TensorProto, helper

GGUF_TYPES = {"u8": 0, "u32": 4, "f32": 6, "bool": 7, "text": 8, "array": 9, "u64": 10, "f64": 12}
_GGUF_FORMATS = {"u8": "<B", "u32": "<I", "f32": "<f", "bool": "<?", "u64": "<Q", "f64": "<d"}


def onnx_model(
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    *,
    initializers: list[TensorProto] | None = None,
    ir_version: int = 10,
    opset: int = 21,
) -> bytes:
    """Return an ONNX file, by default of one operator on [any, 30] numbers."""
    if inputs is None:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 30])]
    if outputs is None:
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 30])]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "fraud", inputs, outputs, initializer=initializers or [])
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", opset)]
    model = helper.make_model(graph, producer_name="tests", producer_version="1.0", opset_imports=opsets)
    model.ir_version = ir_version
    encoded: bytes = model.SerializeToString()
    return encoded


def safetensors(header: object, data: bytes = b"") -> bytes:
    """Return a safetensors file with *header*, which may be no header at all."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def gguf(*pairs: tuple[str, str, Any], version: int = 3, count: int | None = None) -> bytes:
    """Return a GGUF file with pairs of key, type and value."""
    count = len(pairs) if count is None else count
    encoded = [b"GGUF", struct.pack("<IQQ", version, 0, count)]
    for key, kind, value in pairs:
        encoded += [gguf_text(key), struct.pack("<I", GGUF_TYPES[kind]), gguf_value(kind, value)]
    return b"".join(encoded)


def gguf_text(text: str) -> bytes:
    """Encode a text with its length before it."""
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def gguf_value(kind: str, value: Any) -> bytes:
    """Encode a value; an array is a pair of the type of its elements and a list."""
    if kind == "text":
        return gguf_text(value)
    if kind == "array":
        inner, elements = value
        head = struct.pack("<IQ", GGUF_TYPES[inner], len(elements))
        return head + b"".join(gguf_value(inner, each) for each in elements)
    return struct.pack(_GGUF_FORMATS[kind], value)
