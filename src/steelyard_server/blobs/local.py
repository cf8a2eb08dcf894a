"""Interim store so that the server runs; replaced by the durable one."""
from __future__ import annotations
import hashlib, os
from pathlib import Path
from steelyard_server.errors import BlobLost, DigestMismatch, SizeMismatch, UploadSuperseded

class LocalStore:
    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        (self.root / "uploads").mkdir(parents=True, exist_ok=True)
        self.current: dict[str, "Upload"] = {}
    def _path(self, digest: str) -> Path:
        h = digest.removeprefix("sha256:")
        return self.root / "sha256" / h[:2] / h[2:4] / h
    def begin_upload(self, key: str, *, size_bytes: int, from_start: bool = False) -> "Upload":
        u = Upload(self, key, size_bytes, from_start)
        self.current[key] = u
        return u
    def held_bytes(self, key: str) -> int:
        p = self.root / "uploads" / key
        return p.stat().st_size if p.exists() else 0
    def contains(self, digest: str) -> bool:
        return self._path(digest).exists()
    def open(self, digest: str, *, size_bytes: int) -> "Reader":
        p = self._path(digest)
        if not p.exists():
            raise BlobLost("gone", digest=digest)
        return Reader(p, size_bytes)
    def expire_uploads(self, *, before_time: float) -> int:
        return 0
    def close(self) -> None: ...

class Upload:
    def __init__(self, store: LocalStore, key: str, size_bytes: int, from_start: bool) -> None:
        self.store, self.key, self.size = store, key, size_bytes
        self.path = store.root / "uploads" / key
        self.hash = hashlib.sha256()
        if from_start and self.path.exists(): self.path.unlink()
        self.f = open(self.path, "ab+")
        self.f.seek(0)
        while b := self.f.read(1 << 20): self.hash.update(b)
        self.offset = self.durable_offset = self.f.tell()
    def _mine(self) -> None:
        if self.store.current.get(self.key) is not self: raise UploadSuperseded("taken over")
    def write(self, data) -> None:
        self._mine()
        if self.offset + len(data) > self.size: raise SizeMismatch("too many bytes", expected_bytes=self.size, actual_bytes=self.offset+len(data))
        self.hash.update(data); self.f.write(data); self.offset += len(data)
    def flush(self) -> int:
        self.f.flush(); os.fdatasync(self.f.fileno()); self.durable_offset = self.offset; return self.offset
    def finish(self, digest: str) -> None:
        self._mine(); self.flush()
        if self.offset != self.size: self.discard(); raise SizeMismatch("size", expected_bytes=self.size, actual_bytes=self.offset)
        actual = "sha256:" + self.hash.hexdigest()
        if actual != digest: self.discard(); raise DigestMismatch("digest", expected=digest, actual=actual)
        p = self.store._path(digest); p.parent.mkdir(parents=True, exist_ok=True); os.replace(self.path, p); self.f.close()
    def close(self) -> None:
        if not self.f.closed: self.f.flush(); self.f.close()
    def discard(self) -> None:
        self.f.close(); self.path.unlink(missing_ok=True)

class Reader:
    def __init__(self, p: Path, size: int) -> None:
        self.fd = os.open(p, os.O_RDONLY); self.size_bytes = size
    def read(self, offset: int, length: int) -> bytes: return os.pread(self.fd, length, offset)
    def close(self) -> None: os.close(self.fd)
