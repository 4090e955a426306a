"""What a plan is made with: the file of measured timings is that of its GPU and version alone."""

from __future__ import annotations

from edgebird.runtimes.trt.gpu import Gpu
from edgebird.runtimes.trt.plan import timing_cache_name


def test_the_timing_cache_names_its_gpu() -> None:
    gpu = Gpu("NVIDIA GeForce RTX 4090", "sm89", 128, False, 1, "13.0", "13.0")
    assert timing_cache_name(gpu, "11.4.0.106") == "timing.nvidia-geforce-rtx-4090.sm89.128mp.11.4.0.106.cache"
