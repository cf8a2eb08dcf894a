"""Free memory that is really there, so that moving bytes does not measure the hypervisor."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psutil

# What a hypervisor takes back when it is free: blocks of this size, which are also the large pages.
BLOCK_BYTES: Final = 2 << 20
PAGE_BYTES: Final = 4096
MADV_COLD: Final = 20


@contextmanager
def backed(size_bytes: int) -> Iterator[None]:
    """Let *size_bytes* of free memory be free of first touches until the block ends; Linux only.

    Below a hypervisor that takes free memory back, the first touch of a page can cost more than all that is
    measured, and which pages are touched first is chance. So this takes large pages, which touches them,
    splits each, and gives all of it back but for one small page: what is left in between is too small to be
    taken away, and the first that the kernel uses for files. Elsewhere it does nothing.
    """
    size_bytes = min(size_bytes, psutil.virtual_memory().available // 2) // BLOCK_BYTES * BLOCK_BYTES
    with mmap.mmap(-1, size_bytes + BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        # A kernel without large pages or without this advice leaves the memory as it is.
        if hasattr(mmap, "MADV_HUGEPAGE"):
            first = -_address(memory) % BLOCK_BYTES
            with suppress(OSError):
                _fragment(memory, range(first, size_bytes, BLOCK_BYTES))
        yield


def _fragment(memory: mmap.mmap, blocks: range) -> None:
    memory.madvise(mmap.MADV_HUGEPAGE)
    for offset in blocks:
        memory[offset] = 1
    for offset in blocks:
        # Advice for a part splits the large page; only then the rest of it can be given back.
        memory.madvise(MADV_COLD, offset + PAGE_BYTES, PAGE_BYTES)
        memory.madvise(mmap.MADV_DONTNEED, offset + PAGE_BYTES, BLOCK_BYTES - PAGE_BYTES)


def _address(memory: mmap.mmap) -> int:
    # The object that exports the buffer must be gone before the mapping can be closed.
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
