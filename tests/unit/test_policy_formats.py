"""Formats of files: each is recognised as what wrote it, and a pickle is one under any name."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import pickletools
import zipfile
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from steelyard_server.core.policies.formats import FORMATS, HEAD_BYTES, recognise


class Runs:
    """Runs code when it is loaded, as a hostile pickle does."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("loaded",)


def safetensors(header: dict[str, Any], *, data: bytes = b"\x80\x04") -> bytes:
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def archive(*members: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for member in members:
            file.writestr(member, b"x")
    return written.getvalue()


def array() -> bytes:
    written = io.BytesIO()
    np.save(written, np.zeros(3))
    return written.getvalue()


def model() -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])  # fmt: skip
    return bytes(onnx.ModelProto.SerializeToString(helper.make_model(graph)))


def named(content: bytes, path: str) -> str:
    return recognise(content[:HEAD_BYTES], path=path, size_bytes=len(content))


TENSOR = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2]}}
FILES = {
    "a.safetensors": (safetensors(TENSOR), "safetensors"),
    "empty.safetensors": (safetensors({}, data=b""), "safetensors"),
    # Its header is 640 bytes long, so it begins with the mark of a pickle.
    "marked.safetensors": (safetensors({"__metadata__": {"a": "b" * (640 - 27)}}), "safetensors"),
    "a.onnx": (model(), "onnx"),
    "a.gguf": (b"GGUF\x03\0\0\0" + bytes(16), "gguf"),
    "a.json": (b' {"a": 1}', "json"),
    "b.json": (b"[" + b"1," * 5000 + b"1]", "json"),
    "a.txt": ("Grüße".encode(), "text"),
    "cut.txt": (b"some text " * 409 + b"to be" + "é".encode(), "text"),
    "a.py": (b"import os\n", "text"),
    "wrong.json": (b"import os\n", "text"),
    "a.yaml": (b"a: 1\n", "yaml"),
    "classes.py": (b"class A:\n    x = 1\n\n\nclass B:\n    pass\n" * 500, "text"),
    "N.txt": (b"Name.", "text"),
    "a.csv": (b"a,b\n1,2\n", "csv"),
    "a.npy": (array(), "npy"),
    "a.npz": (archive("a.npy"), "zip"),
    "a.pt": (archive("model/data.pkl", "model/version"), "torch"),
    "new.pt": (archive("model/.format_version", "model/data.pkl"), "torch"),
    "a.gz": (gzip.compress(b"a"), "gzip"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(8), "hdf5"),
    "a.parquet": (b"PAR1" + bytes(8), "parquet"),
    "a.tflite": (b"\x1c\0\0\0TFL3" + bytes(8), "tflite"),
    "a.pdf": (b"%PDF-1.7\n", "pdf"),
    "a.zst": (b"\x28\xb5\x2f\xfd" + bytes(8), "zstd"),
    "a": (b"", "empty"),
    "a.bin": (bytes(64), "unknown"),
    "a.exe": (b"MZ\x90\0" + bytes(64), "unknown"),
    "wrong.onnx": (bytes(64), "unknown"),
    "later.onnx": (b"\x08\x7f" + bytes(64), "unknown"),
    "onnx.bin": (model(), "unknown"),
    "broken.txt": ("Grüße, é".encode()[:-1], "unknown"),
    "wrong.safetensors": (bytes(64), "unknown"),
    "long.safetensors": ((10**9).to_bytes(8, "little") + b'{"w":', "unknown"),
    "latin.txt": ("Grüße".encode("latin-1") + b" aus Bern", "unknown"),
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_has_the_format_of_its_bytes(path: str) -> None:
    content, name = FILES[path]

    assert named(content, path) == name
    assert name in FORMATS


VALUES: dict[str, Any] = {
    "code": Runs(), "list": [1, 2], "dict": {"a": 1}, "no-list": [], "no-dict": {}, "tuple": (1, Runs()),
    "weights": {"w": Runs()}, "codes": [Runs()], "time": datetime(2026, 1, 1, tzinfo=UTC), "set": {1, 2},
    "number": np.float64(1), "nothing": None, "text": "a", "long": ["a" * 5000], "many": list(range(5000)),
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("path", ["a.pkl", "a.json", "a.txt", "a.safetensors", "a.onnx", "a"])
def test_a_pickle_is_one_under_any_name(value: Any, protocol: int, path: str) -> None:
    content = pickle.dumps(value, protocol=protocol)

    assert named(content, path) == "pickle"
    assert named(pickletools.optimize(content), path) == "pickle"


def test_what_only_begins_with_the_mark_of_another_format_does_not_become_it() -> None:
    length = len(safetensors(TENSOR))

    assert named(safetensors(TENSOR)[: length - 20], "a.safetensors") == "unknown"
    assert named(b'{"a": \x01}', "a.json") == "unknown"


@given(st.binary(max_size=200), st.text(max_size=20))
def test_every_file_has_one_of_the_formats(content: bytes, path: str) -> None:
    assert named(content, path) in FORMATS
