"""The machine edgebird runs on."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CFS = ("quota", "period")
_L4T_FILE = "/etc/nv_tegra_release"
# NVIDIA gives its packages a name for each CUDA.
_RTX = "onnxruntime-ep-nv-tensorrt-rtx"
_VARIANTS = {"tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"), _RTX: (f"{_RTX}-cu13", f"{_RTX}-cu12")}


def installed_version(distribution: str) -> str | None:
    """The version of a package, under any of its names; None if it is not installed."""
    for name in _VARIANTS.get(distribution, (distribution,)):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def available_memory(system: Path = Path("/")) -> int | None:
    """Bytes that programs can have without others losing theirs, as Linux estimates it; None where it does not.

    system: where /proc is, for tests.
    """
    found = found_in(str(system / "proc/meminfo"), r"MemAvailable:\s+(\d+) kB")
    return 1024 * int(found[1]) if found else None


def usable_cores() -> int:
    """How many cores this process may use: those it may run on, or as many as its quota of CPU time keeps busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else min(cores, math.ceil(quota))


def cpu_quota(system: Path = Path("/")) -> float | None:
    """CPU seconds a second that this process may use; None without a limit.

    `docker run --cpus` and systemd's `CPUQuota=` set it, at the control group of the process or at one above it; more
    threads than that are stopped for a part of every tenth of a second. system: where /proc and /sys are, for tests.
    """
    quotas = []
    for folder in _control_groups(system, "cpu"):
        with suppress(OSError, ValueError):
            if (folder / "cpu.max").exists():  # cgroup v2: `100000 100000`, or `max 100000`
                quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in _CFS)
            quotas.append(float(quota) / float(period))
    return min((quota for quota in quotas if 0 < quota < math.inf), default=None)


def usable_memory(system: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: those of the machine, or fewer where `docker run --memory` says so.

    system: see `cpu_quota`.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _control_groups(system, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # cgroup v2, where it may be `max`; v1
            with suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text(encoding="ascii")))
    return min(limits)


def _control_groups(system: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups that this process is in, its own first, that may limit `cpu` or `memory`.

    In a container the path in /proc/self/cgroup may be that on the host, of which the mount shows the end or nothing.
    """
    try:
        groups = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (system / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        root, place = left.split()[3:5]
        kind, *_, options = right.split()
        for _number, controllers, path in (line.split(":", 2) for line in groups):
            if (kind, controllers) == ("cgroup2", "") or (
                kind == "cgroup" and controller in controllers.split(",") and controller in options.split(",")
            ):
                inner = Path(path.removeprefix("" if root == "/" else root).lstrip("/"))
                top = system / place.lstrip("/")
                yield from (top / part for part in (inner, *inner.parents))


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
