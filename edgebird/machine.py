"""The machine edgebird runs on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from contextlib import suppress

_L4T_FILE = "/etc/nv_tegra_release"
# NVIDIA gives its packages a name for each CUDA.
_VARIANTS = {"tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")}


def installed_version(distribution: str) -> str | None:
    """The version of a package, under any of its names; None if it is not installed."""
    for name in _VARIANTS.get(distribution, (distribution,)):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The CPU's name as Linux knows it, else its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith(("model name", "Model"))]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def l4t() -> str | None:
    """The release of a Jetson's system, such as `36.4.3`; None elsewhere."""
    found = found_in(_L4T_FILE, r"R(\d+) \(release\), REVISION: ([\d.]+)")
    return f"{found[1]}.{found[2]}" if found else None


def found_in(file: str, pattern: str) -> re.Match[str] | None:
    """What a file of the system says that fits a regular expression; None where it does not, or cannot be read."""
    try:
        with open(file, encoding="utf-8") as stream:
            return re.search(pattern, stream.read())
    except OSError:
        return None


def power_mode() -> str | None:
    """A Jetson's power mode as `nvpmodel -q` tells it, in one line; None where there is no such program."""
    try:
        told = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(told.split()) or None
