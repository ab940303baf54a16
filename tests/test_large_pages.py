"""Memory in large pages: the kernel is asked how it lies, and what it holds is compared."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, hashlib, mmap
from pathlib import Path
from mdbench.methods.pages import into_large_pages

def large():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))

held = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held[:] = bytes(range(256)) * (len(held) // 256)
before = large()
into_large_pages()
probe = ctypes.CDLL(None).madvise
probe.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
start = -(-ctypes.addressof(ctypes.c_char.from_buffer(held)) // (1 << 21)) * (1 << 21)
print(before, large(), probe(start, 1 << 21, 25), hashlib.sha256(held).hexdigest())
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells how memory lies")
def test_memory_lies_in_large_pages_where_the_kernel_does_that_and_holds_the_same() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout.split()
    before, after, refused = map(int, said[:3])
    assert said[3] == hashlib.sha256(bytes(range(256)) * (1 << 16)).hexdigest()
    assert after - before >= 14 << 10 if not refused else after == before  # kB; the ends of 16 MiB are of no large page


def test_a_line_of_maps_is_read_as_the_kernel_writes_it() -> None:
    from mdbench.methods.pages import _written

    found = list(_written())
    heap = re.search(r"^(\w+)-(\w+) .*\[heap\]$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    assert found
    assert heap is None or int(heap[1], 16) in {start for start, _ in found}
