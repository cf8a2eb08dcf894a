"""Memory of large messages: keep it instead of giving it back and taking it again."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
MIB = 1 << 20


def keep_freed_memory() -> None:
    """Tell glibc to serve messages of 1 MiB from the heap; does nothing with another C library.

    By default it maps and unmaps each one, at 256 page faults a message: a third of the time of a
    transfer. It changes the whole process, so only programs of our own call it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 64 * MIB)
    mallopt(M_TRIM_THRESHOLD, 512 * MIB)
    mallopt(M_TOP_PAD, 16 * MIB)
    # Each thread would keep an arena of its own, and what is freed in it.
    mallopt(M_ARENA_MAX, 2)
