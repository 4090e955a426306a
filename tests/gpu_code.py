"""Which GPUs a library has code for: `python -m tests.gpu_code LIBRARY...` (no GPU, no CUDA toolkit).

Reads the fat binaries in it: each begins with a magic number and holds one entry for every architecture, machine code
(`sm_86`) or PTX (`ptx_90`), which the driver compiles for newer GPUs. The layout is what nvcc writes.
"""

from __future__ import annotations

import mmap
import struct
import sys
from pathlib import Path

_MAGIC = b"\x50\xed\x55\xba"
_HEADER = struct.Struct("<4xHHQ")  # after the magic: version, bytes of the header, bytes of all entries
_ENTRY = struct.Struct("<HHIQ12xI")  # kind, ., bytes of this header, bytes of the code, architecture
_KINDS = {1: "ptx", 2: "sm"}


def gpus_of(library: Path) -> list[str]:
    """Architectures that a library has code for, such as `sm_86`, in order."""
    found: set[tuple[str, int]] = set()
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = data.find(_MAGIC)
        while position >= 0:
            version, header, size = _HEADER.unpack_from(data, position)
            is_one = version == 1 and header == _HEADER.size and position + header + size <= len(data)
            end = position + header + size if is_one else position + len(_MAGIC)
            if is_one:
                found |= _entries(data, position + header, end)
            position = data.find(_MAGIC, end)
    return [
        f"{kind}_{architecture}"
        for kind, architecture in sorted(found, key=lambda entry: (entry[0] == "ptx", entry[1]))
    ]


def _entries(data: mmap.mmap, position: int, end: int) -> set[tuple[str, int]]:
    found = set()
    while position < end:
        kind, _, header, size, architecture = _ENTRY.unpack_from(data, position)
        if kind not in _KINDS:
            break
        found.add((_KINDS[kind], architecture))
        position += header + size
    return found


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, *gpus_of(Path(name)))
