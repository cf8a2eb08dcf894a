"""A process that uses `steelyard.Client`: ``python -m benchmarks.client_job JOB``."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from steelyard import Client, tune_allocator

MODEL = "default/files"


def push(*, address: str, path: str, cache: str, metric: float = 0.0) -> dict[str, float]:
    """Push a file or directory; return seconds and the bytes that went over the wire."""
    with Client(address, cache_dir=cache, cache_bytes=0) as client:
        client.server_info()
        begin = time.perf_counter()
        result = client.push(MODEL, path, metrics={"round": metric})
        seconds = time.perf_counter() - begin
    assert result.created
    return {"seconds": seconds, "uploaded_bytes": result.uploaded_bytes}


def pull(*, address: str, target: str, cache: str, model: str = MODEL) -> dict[str, float]:
    """Pull the newest version of *model* into a new directory; return seconds."""
    with Client(address, cache_dir=cache, cache_bytes=0) as client:
        client.server_info()
        begin = time.perf_counter()
        client.pull(model, target)
        return {"seconds": time.perf_counter() - begin}


def import_bundle(*, address: str, path: str, into: str, cache: str) -> dict[str, float]:
    """Import a bundle into a new model; return seconds and the versions that were made."""
    with Client(address, cache_dir=cache) as client:
        client.server_info()
        begin = time.perf_counter()
        result = client.import_bundle(path, into=into)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "created": sum(model.created_count for model in result.models)}


def copy(*, path: str, target: str, durable: bool) -> dict[str, float]:
    """Read, hash and write every file of a directory, and sync each when *durable*: the floor."""
    begin = time.perf_counter()
    Path(target).mkdir()
    for entry in os.scandir(path):
        data = Path(entry.path).read_bytes()
        name = hashlib.sha256(data).hexdigest()
        with Path(target, name).open("wb", buffering=0) as file:
            file.write(data)
            if durable:
                os.fsync(file.fileno())
    return {"seconds": time.perf_counter() - begin}


def hash_files(*, path: str) -> dict[str, float]:
    """Hash the files of a directory on all cores: the floor of registering them with nothing remembered."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(_hash, Path(path).iterdir()))
    return {"seconds": time.perf_counter() - begin}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


JOBS: dict[str, Any] = {each.__name__: each for each in (push, pull, import_bundle, copy, hash_files)}

if __name__ == "__main__":
    tune_allocator()
    job = json.loads(sys.argv[1])
    print(json.dumps(JOBS[job.pop("do")](**job)))
