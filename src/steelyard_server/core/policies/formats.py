"""The format of a file, from its first bytes: what a policy allows is a list of these.

A format is named only when the bytes are those of one. A name never makes a file harmless: it decides
between formats of text, and which kind of archive a ZIP file is, and for nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import PurePosixPath

from steelyard_server.core.policies.language import UNKNOWN_FORMAT

# As many bytes of a file, from its beginning, as `recognise` looks at.
HEAD_BYTES = 4096
FORMATS = (
    "csv", "empty", "gguf", "gzip", "hdf5", "json", "npy", "onnx", "parquet", "pdf", "pickle", "safetensors",
    "text", "tflite", "torch", "unknown", "yaml", "zip", "zstd",
)  # fmt: skip

_MAGIC = {
    b"GGUF": "gguf",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"\x93NUMPY": "npy",
    b"PAR1": "parquet",
    b"%PDF-": "pdf",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_ZIP = b"PK\x03\x04"
_ZIP_NAME_AT, _ZIP_NAME_LENGTH_AT = 30, 26
_SAFETENSORS_LENGTH_BYTES = 8
_SAFETENSORS_HEADER_BYTES = 100 * 1024 * 1024
_TEXTS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv"}
_CONTROL = frozenset(range(0x20)) - frozenset(b"\t\n\r\f")
_ONNX_FIELDS = range(1, 26)
_UTF8_CUT_BYTES = 3


def recognise(head: bytes, *, path: str, size_bytes: int) -> str:
    """Name the format of a file, one of FORMATS; `unknown` when its bytes are those of none.

    Args:
        head: the first HEAD_BYTES of it, or all.
    """
    head = head[:HEAD_BYTES]
    if not size_bytes:
        return "empty"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    tests: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: _is_pickle(head, whole=len(head) == size_bytes), "pickle"),
        (lambda: head.startswith(_ZIP), _archive(head)),
        (lambda: _is_safetensors(head, size_bytes=size_bytes), "safetensors"),
        (lambda: head[4:8] == b"TFL3", "tflite"),
        (lambda: _is_text(head, whole=len(head) == size_bytes), _text(head, path=path)),
        (lambda: _is_onnx(head, path=path), "onnx"),
    )
    return next((name for test, name in tests if test()), UNKNOWN_FORMAT)


def _is_pickle(head: bytes, *, whole: bool) -> bool:
    """Return whether the bytes are instructions of a pickle up to its end, or up to where the head is cut.

    The mark of a pickle is two bytes, with which the length of a safetensors header may begin as well.
    """
    import pickletools

    stream, count = io.BytesIO(head), 0
    try:
        for _ in pickletools.genops(stream):
            count += 1
    except ValueError:
        return not whole and count > 0 and not stream.read(1)
    return True


def _archive(head: bytes) -> str:
    """Tell PyTorch's archive, which holds a pickle, from others by the name of its first entry."""
    length = int.from_bytes(head[_ZIP_NAME_LENGTH_AT : _ZIP_NAME_LENGTH_AT + 2], "little")
    name = head[_ZIP_NAME_AT : _ZIP_NAME_AT + length]
    return "torch" if name.endswith((b"/data.pkl", b".data/serialization_id", b"/.format_version")) else "zip"


def _is_safetensors(head: bytes, *, size_bytes: int) -> bool:
    length = int.from_bytes(head[:_SAFETENSORS_LENGTH_BYTES], "little")
    fits = length <= min(size_bytes - _SAFETENSORS_LENGTH_BYTES, _SAFETENSORS_HEADER_BYTES)
    return fits and head[_SAFETENSORS_LENGTH_BYTES:].startswith((b'{"', b"{}"))


def _is_text(head: bytes, *, whole: bool) -> bool:
    """Return whether a file begins as UTF-8 without control characters; its last character may be cut."""
    if _CONTROL & set(head):
        return False
    for cut in range(1 if whole else _UTF8_CUT_BYTES + 1):
        try:
            head[: len(head) - cut].decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


def _text(head: bytes, *, path: str) -> str:
    named = _TEXTS.get(PurePosixPath(path).suffix.lower(), "text")
    begins_as_json = head.lstrip()[:1] in {b"{", b"["}
    return "text" if named == "json" and not begins_as_json else named


def _is_onnx(head: bytes, *, path: str) -> bool:
    """Return whether a file named so begins with the fields of a model; ONNX has no mark of its own."""
    if PurePosixPath(path).suffix.lower() != ".onnx" or len(head) < 2:  # noqa: PLR2004 - a tag and a number
        return False
    # The version of the format comes first: field 1, a number, which is small.
    return head[0] == 1 << 3 and head[1] in _ONNX_FIELDS
