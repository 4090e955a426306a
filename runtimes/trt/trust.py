"""What this user's computer made itself: engines whose code may run, and caches that TensorRT reads unchecked.

A bundle may come from anywhere, and a sidecar travels with its engine: neither can vouch for code. So this is kept
outside of all bundles, in the user's cache.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgebird.files import atomic_path, cache_folder
from edgebird.runtimes.trt.gpu import Gpu


def note_built(engine_sha256: str) -> None:
    """Note that an engine of this SHA-256 was built here. Raises OutputError."""
    with atomic_path(_note(engine_sha256)) as temporary:
        temporary.write_bytes(b"")


def was_built_here(engine_sha256: str) -> bool:
    """Whether this user built an engine of this SHA-256 on this computer."""
    return _note(engine_sha256).is_file()


def _note(engine_sha256: str) -> Path:
    return cache_folder() / "built" / engine_sha256


def timing_cache(gpu: Gpu, version: str) -> Path:
    """What a TensorRT measured on a GPU: a file for each GPU and version, as it says nothing of others."""
    return cache_folder() / "tensorrt" / f"timing.{_place(gpu, version)}.cache"


def kernel_cache(gpu: Gpu, version: str, engine_sha256: str) -> Path:
    """What TensorRT-RTX compiled for an engine: a file for each GPU, version and driver."""
    driver = gpu.driver_release or gpu.driver
    return cache_folder() / "tensorrt-rtx" / f"kernels.{_place(gpu, version)}.{driver}.{engine_sha256[:16]}.cache"


def _place(gpu: Gpu, version: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", gpu.name).strip("-").lower()
    return f"{name}.{gpu.capability}.{gpu.multiprocessors}mp.{version}"
