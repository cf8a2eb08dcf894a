"""What files of weights say of themselves: real ones of each format, and files that lie."""

from __future__ import annotations

import io
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from steelyard import Framework, Schema, SchemaField
from steelyard.capture import gguf, headers, reader, safetensors
from steelyard.capture import onnx as onnx_header
from steelyard.capture.reader import Budget, Header, HeaderUnreadable, Reader
from steelyard.scan import scan
from tests.client.capture import formats
from tests.client.trees import write_tree

READS = {
    "onnx": onnx_header.read,
    "safetensors": safetensors.read,
    "gguf": gguf.read,
}
WHOLE = {
    "onnx": formats.onnx_model(),
    "safetensors": formats.safetensors(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234"
    ),
    "gguf": formats.gguf(("general.name", "text", "fraud"), ("general.file_type", "u32", 15)),
}


def header_of(encoded: bytes, kind: str, *, budget: Budget | None = None) -> Header:
    stream = io.BytesIO(encoded)
    return READS[kind](Reader(stream, size_bytes=len(encoded), budget=budget or Budget()))


def found_in(directory: Path, files: dict[str, bytes], *notes: str) -> list[Header]:
    said: list[str] = []
    found = headers.read(scan(write_tree(directory, files), roles={}).files, note=said.append)
    assert said == list(notes)
    return found


def test_a_classifier_that_scikit_learn_trained_has_its_schema() -> None:
    data = np.random.default_rng(7).normal(size=(20, 4)).astype(np.float32)
    classifier = LogisticRegression().fit(data, np.arange(20) % 2)
    model = to_onnx(classifier, data[:1])
    found = header_of(model.SerializeToString(), "onnx")
    assert found.schema == Schema(
        inputs=(SchemaField("X", "float32", (-1, 4)),),
        outputs=(
            SchemaField("output_label", "int64", (-1,)),
            SchemaField("output_probability", "sequence(map(int64, float32))"),
        ),
    )
    opset = next(each.version for each in model.opset_import if each.domain == "")
    assert found.framework == "onnx"
    assert found.facts == {
        "onnx.opset": (opset,),
        "onnx.producer": (f"{model.producer_name} {model.producer_version}",),
    }


# Written as the library of ONNX names them, in lower case; these differ.
RENAMED = {"float": "float32", "double": "float64"}


def test_every_type_of_an_element_has_a_name() -> None:
    numbers = [number for name, number in TensorProto.DataType.items() if name != "UNDEFINED"]
    inputs = [helper.make_tensor_value_info(f"x{number}", number, [1]) for number in numbers]
    found = header_of(formats.onnx_model(inputs), "onnx")
    assert found.schema is not None
    names = [TensorProto.DataType.Name(number).lower() for number in numbers]
    assert [each.type for each in found.schema.inputs] == [RENAMED.get(name, name) for name in names]


SHAPES: list[tuple[Any, tuple[int, ...]]] = [
    ([], ()),
    (None, ()),
    ([3], (3,)),
    (["batch", 3], (-1, 3)),
    ([None, 3], (-1, 3)),
    ([0, 2**40], (0, 2**40)),
    ([-1, 3], (-1, 3)),
]


@pytest.mark.parametrize(("shape", "expected"), SHAPES)
def test_a_dimension_without_a_size_may_have_any(shape: Any, expected: tuple[int, ...]) -> None:
    found = header_of(
        formats.onnx_model([helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]), "onnx"
    )
    assert found.schema is not None
    assert found.schema.inputs[0].shape == expected


def test_sequences_and_optional_values_say_what_is_in_them() -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.INT64, [2])
    sparse = helper.make_sparse_tensor_type_proto(TensorProto.DOUBLE, [2, 3])
    types = [helper.make_sequence_type_proto(tensor), helper.make_optional_type_proto(tensor), sparse]
    found = header_of(
        formats.onnx_model([helper.make_value_info(f"x{i}", t) for i, t in enumerate(types)]), "onnx"
    )
    assert found.schema is not None
    assert found.schema.inputs == (
        SchemaField("x0", "sequence(int64)"),
        SchemaField("x1", "int64", (2,), optional=True),
        SchemaField("x2", "sparse(float64)", (2, 3)),
    )


@pytest.mark.parametrize(("ir_version", "expected"), [(3, ["x"]), (4, ["x", "w"])])
def test_weights_among_the_inputs_are_none_or_may_be_left_out(ir_version: int, expected: list[str]) -> None:
    weight = numpy_helper.from_array(np.zeros((2, 2), np.float32), "w")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("x", "w")]
    found = header_of(formats.onnx_model(inputs, initializers=[weight], ir_version=ir_version), "onnx")
    assert found.schema is not None
    assert [each.name for each in found.schema.inputs] == expected
    assert [each.name for each in found.schema.inputs if each.optional] == expected[1:]


def test_weights_are_passed_over(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.zeros(4 << 20, np.float32), f"w{number}") for number in range(4)]
    encoded = formats.onnx_model(initializers=weights)
    assert len(encoded) > 64 << 20
    budget = Budget()
    assert header_of(encoded, "onnx", budget=budget).schema == header_of(WHOLE["onnx"], "onnx").schema
    assert reader.BYTES_MAXIMUM - budget.bytes_left < 64 << 10


@pytest.mark.parametrize(
    ("metadata", "framework"),
    [
        ({"format": "pt"}, "pytorch"),
        ({"format": "tf"}, "tensorflow"),
        ({"format": "mlx", "other": "x"}, "mlx"),
        ({"format": "own"}, "safetensors"),
        ({}, "safetensors"),
        (None, "safetensors"),
        (7, "safetensors"),
    ],
)
def test_safetensors_say_what_wrote_them_and_how_numbers_are_stored(metadata: object, framework: str) -> None:
    tensors = {
        f"t{i}": {"dtype": dtype, "shape": [1], "data_offsets": [0, 4]}
        for i, dtype in enumerate(("F32", "BF16", "F32"))
    }
    members = tensors if metadata is None else {"__metadata__": metadata, **tensors}
    found = header_of(formats.safetensors(members), "safetensors")
    assert found == Header(framework, facts={"safetensors.dtype": ("BF16", "F32")})


TOKENS = ["token", "", "ü"] * 1000
PAIRS: list[tuple[str, str, Any]] = [
    ("general.architecture", "text", "llama"),
    ("llama.context_length", "u32", 8192),
    ("llama.rope.freq_base", "f32", 500000.0),
    ("tokenizer.ggml.tokens", "array", ("text", TOKENS)),
    ("tokenizer.ggml.scores", "array", ("f32", [0.5] * 1000)),
    ("tokenizer.chat_template", "text", "x" * 100_000),
    ("general.name", "text", "Fraud 7B"),
    ("general.flag", "bool", True),
    ("general.file_type", "u32", 15),
]


@pytest.mark.parametrize("version", [2, 3])
def test_gguf_says_architecture_name_and_file_type_wherever_they_stand(version: int) -> None:
    for pairs in (PAIRS, PAIRS[::-1]):
        found = header_of(formats.gguf(*pairs, version=version), "gguf")
        assert found == Header(
            "gguf",
            facts={
                "gguf.architecture": ("llama",),
                "gguf.name": ("Fraud 7B",),
                "gguf.file_type": ("Q4_K_M",),
            },
        )


def test_a_file_type_that_is_not_known_is_its_number() -> None:
    assert header_of(formats.gguf(("general.file_type", "u32", 999)), "gguf").facts == {
        "gguf.file_type": (999,)
    }


def test_a_value_of_another_type_than_usual_is_passed_over() -> None:
    found = header_of(formats.gguf(("general.name", "u64", 7), ("general.file_type", "text", "F16")), "gguf")
    assert found.facts == {"gguf.file_type": ("F16",)}


HOSTILE: dict[str, tuple[str, bytes]] = {
    "onnx: empty": ("onnx", b""),
    "onnx: zeros": ("onnx", bytes(1 << 16)),
    "onnx: a text file": ("onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
    "onnx: no graph": ("onnx", b"\x08\x0a"),
    "onnx: a graph longer than the file": ("onnx", b"\x3a\xff\xff\xff\xff\x0f"),
    "onnx: a length of 2^64-1": ("onnx", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    "onnx: a number that never ends": ("onnx", b"\xff" * 64),
    "onnx: groups": ("onnx", b"\x3b" * 64),
    "onnx: many tiny fields": ("onnx", b"\x08\x00" * 600_001),
    "onnx: a name of a megabyte": (
        "onnx",
        formats.onnx_model([helper.make_tensor_value_info("n" * (1 << 20), TensorProto.FLOAT, [1])]),
    ),
    "safetensors: empty": ("safetensors", b""),
    "safetensors: a length of 2^64-1": ("safetensors", b"\xff" * 16),
    "safetensors: longer than the file": ("safetensors", struct.pack("<Q", 1000) + b"{}"),
    "safetensors: a list": ("safetensors", formats.safetensors([1, 2])),
    "safetensors: no JSON": ("safetensors", formats.safetensors(b"{'a': 1}")),
    "safetensors: no text": ("safetensors", formats.safetensors(b"\xff\xfe\x00")),
    "safetensors: deep": ("safetensors", formats.safetensors(b'{"a":' * 200_000)),
    "safetensors: a huge header": ("safetensors", formats.safetensors(b" " * (9 << 20))),
    "safetensors: a number of a million digits": (
        "safetensors",
        formats.safetensors(b'{"a":' + b"1" * 1_000_000 + b"}"),
    ),
    "gguf: empty": ("gguf", b""),
    "gguf: another format": ("gguf", b"GGML" + bytes(64)),
    "gguf: big-endian": ("gguf", b"GGUF" + struct.pack(">I", 3) + bytes(64)),
    "gguf: version 1": ("gguf", formats.gguf(*PAIRS, version=1)),
    "gguf: 2^64-1 pairs": ("gguf", formats.gguf(*PAIRS, count=2**64 - 1)),
    "gguf: more pairs than there are": ("gguf", formats.gguf(("a", "u8", 1), count=10)),
    "gguf: a key of 2^64-1 bytes": ("gguf", formats.gguf(count=1) + b"\xff" * 8),
    "gguf: a value of no type": (
        "gguf",
        formats.gguf(count=1) + formats.gguf_text("a") + struct.pack("<I", 77),
    ),
    "gguf: an array of 2^63 texts": (
        "gguf",
        formats.gguf(count=1) + formats.gguf_text("a") + struct.pack("<IIQ", 9, 8, 2**63),
    ),
    "gguf: an array of 2^63 numbers": (
        "gguf",
        formats.gguf(count=1) + formats.gguf_text("a") + struct.pack("<IIQ", 9, 12, 2**63),
    ),
    "gguf: arrays of arrays": (
        "gguf",
        formats.gguf(count=1) + formats.gguf_text("a") + struct.pack("<IIQ", 9, 9, 3),
    ),
}


@pytest.mark.parametrize(("kind", "encoded"), HOSTILE.values(), ids=HOSTILE)
def test_a_header_that_lies_is_said(tmp_path: Path, kind: str, encoded: bytes) -> None:
    notes: list[str] = []
    files = scan(write_tree(tmp_path, {f"a.{kind}": encoded}), roles={}).files
    assert headers.read(files, note=notes.append) == []
    assert len(notes) == 1
    assert notes[0].startswith(f"header of a.{kind}: ")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_header_that_was_cut_anywhere_is_said(kind: str) -> None:
    """What is missing at the end of an ONNX file may be whole fields, which then are simply not there."""
    encoded = WHOLE[kind]
    header_of(encoded, kind)
    refused = 0
    for size_bytes in range(len(encoded)):
        try:
            header_of(encoded[:size_bytes], kind)
        except HeaderUnreadable:
            refused += 1
    assert refused > len(encoded) * 3 // 4


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_no_flipped_byte_does_more_than_make_a_header_unreadable(
    kind: str, changes: list[tuple[int, int]]
) -> None:
    encoded = bytearray(WHOLE[kind])
    for at, byte in changes:
        encoded[at % len(encoded)] = byte
    with suppress(HeaderUnreadable):
        header_of(bytes(encoded), kind)


def test_several_files_agree_on_a_framework_and_join_their_facts(tmp_path: Path) -> None:
    def shard(*types: str) -> bytes:
        return formats.safetensors(
            {"__metadata__": {"format": "pt"}, **{name: {"dtype": name} for name in types}}
        )

    found = found_in(
        tmp_path, {"m-1-of-2.safetensors": shard("BF16", "F32"), "m-2-of-2.safetensors": shard("BF16")}
    )
    assert headers.framework(found, note=pytest.fail) == Framework("pytorch")
    assert headers.schema(found, note=pytest.fail) is None
    assert headers.facts(found) == {"safetensors.dtype": "BF16, F32"}


def test_files_that_differ_leave_it_to_the_caller(tmp_path: Path) -> None:
    found = found_in(
        tmp_path, {"encoder.onnx": WHOLE["onnx"], "decoder.onnx": WHOLE["onnx"], "a.gguf": WHOLE["gguf"]}
    )
    notes: list[str] = []
    assert headers.framework(found, note=notes.append) is None
    assert headers.schema(found, note=notes.append) is None
    assert notes == [
        "framework: there are files of gguf, onnx; state which one loads the version",
        "schema: 2 files have one; state which one is that of the version",
    ]


def test_only_weights_are_looked_at_and_pickles_never(tmp_path: Path) -> None:
    onnx.save(onnx.load_from_string(WHOLE["onnx"]), str(tmp_path / "preprocess.onnx"))
    files = {"model.pkl": b"cos\nsystem\n(S'false'\ntR.", "model.pt": os.urandom(100), "README.md": b""}
    assert found_in(tmp_path, files) == []


def test_more_files_than_are_read_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "FILES_MAXIMUM", 2)
    files = {f"{number}.gguf": WHOLE["gguf"] for number in range(3)}
    assert len(found_in(tmp_path, files, "headers: there are 3 files of weights; only 2 are read")) == 2
