"""What it was measured on: the machine, its software and its settings, and how hot and fast it was meanwhile."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from edgebird import __version__
from edgebird.benchmarks.sensors import ROOT, Sensors, system
from edgebird.errors import RuntimeUnavailableError
from edgebird.machine import cpu_name, installed_version, l4t, power_mode, usable_cores
from edgebird.runtimes.trt.gpu import open_cuda

_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu12", "torch")
# What makes two machines two; the software may differ, which is what comparisons are for.
IDENTITY = ("cpu", "cores", "architecture", "gpu", "power_mode", "governor", "clocks_pinned")


def describe(sensors: Sensors, root: Path = ROOT) -> dict[str, Any]:
    """The machine, as in the report."""
    return {
        "edgebird": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6,
        "gpu": _gpu(sensors),
        "driver": sensors.gpu.driver if sensors.gpu else None,
        "l4t": l4t(),
        "power_mode": power_mode(),
        "governor": ", ".join(system.governors(root)) or None,
        "clocks_pinned": system.clocks_pinned(root),
        "load": os.getloadavg()[0],
        "versions": {name: version for name in _PACKAGES if (version := installed_version(name))},
        "sensors": [meter.name for meter in sensors.meters],
        "missing_sensors": sensors.missing,
    }


def observe(sensors: Sensors, root: Path = ROOT) -> dict[str, Any]:
    """Load, power mode, clocks, temperatures and throttle counts now."""
    found = system.state(root) | {"power_mode": power_mode(), "clocks_pinned": system.clocks_pinned(root)}
    return found | {"gpu": sensors.gpu.state()} if sensors.gpu else found


def _gpu(sensors: Sensors) -> str | None:
    if sensors.gpu:
        return sensors.gpu.name
    try:
        return open_cuda("bench").gpu().name
    except RuntimeUnavailableError:
        return None
