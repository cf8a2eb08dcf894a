"""Directories of files to push, and what a directory has."""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20
MODEL = {"weights.onnx": os.urandom(300_000), "config.json": b'{"classes": 2}\n', "docs/README.md": b"# A\n"}


def write_tree(directory: Path, files: dict[str, bytes]) -> Path:
    """Write *files*, by relative path, below *directory*."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def tree_of(directory: Path) -> dict[str, bytes]:
    """Return all files below *directory* by relative path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def large_file(path: Path, *, size_mib: int) -> Path:
    """Write random bytes that no other test has, so that nothing of them is stored yet."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(size_mib):
            file.write(number.to_bytes(8) + block[8:])
    return path


def remains(directory: Path) -> list[str]:
    """Name what transfers left beside their destination."""
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))
