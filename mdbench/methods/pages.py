"""The memory of a process in large pages: a fork copies the list of pages, and each end of a process takes one apart."""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LARGE: Final = 1 << 21  # bytes, on x86_64 and with pages of 4 KiB on aarch64
_COLLAPSE: Final = 25  # MADV_COLLAPSE, linux/mman.h; since Linux 6.1

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def into_large_pages() -> None:
    """Put what this process has written into large pages, as far as the kernel does that; what it holds stays the same."""
    for start, end in list(_written()):
        first, last = -(-start // _LARGE) * _LARGE, end // _LARGE * _LARGE
        if first < last:
            _libc.madvise(first, last - first, _COLLAPSE)


def _written() -> Iterator[tuple[int, int]]:
    """Yield where memory lies that is of no file and can be written: first address, and the one behind the last."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, file, *name = line.split()
        if rights.startswith("rw-p") and file == "0" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in where.split("-"))
            yield start, end
