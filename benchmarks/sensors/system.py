"""Clocks, temperatures and throttle counts as the kernel tells them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edgebird.benchmarks.sensors.files import number, text

_CPU = "sys/devices/system/cpu"
_THROTTLES = re.compile("throttle|cpufreq|devfreq", re.IGNORECASE)  # kinds of cooling devices that slow something down


def state(root: Path) -> dict[str, Any]:
    """Now; what cannot be read is left out."""
    return {
        "load": os.getloadavg()[0],
        "temperatures_c": _temperatures(root),
        "cpu_mhz": _megahertz(root, f"{_CPU}/cpufreq/policy*/scaling_cur_freq", 1e3),
        "gpu_mhz": _megahertz(root, "sys/class/devfreq/*/cur_freq", 1e6),
        "throttle": _throttle_counts(root),
    }


def governors(root: Path) -> list[str]:
    """The CPU's frequency governors, each once."""
    found = {text(path) for path in (root / _CPU).glob("cpufreq/policy*/scaling_governor")}
    return sorted(name for name in found if name)


def clocks_pinned(root: Path) -> bool | None:
    """Whether every CPU clock has one value alone, as after `jetson_clocks`; None where clocks cannot be seen."""
    policies = list((root / _CPU).glob("cpufreq/policy*"))
    limits = [(number(one / "scaling_min_freq"), number(one / "scaling_max_freq")) for one in policies]
    if not limits or any(None in pair for pair in limits):
        return None
    return all(low == high for low, high in limits)


def throttled(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What slowed the machine down between two states: counts that rose."""
    counts = before["throttle"]
    return [f"{name} rose" for name, count in after["throttle"].items() if count > counts.get(name, count)]


def _temperatures(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        milli = number(zone / "temp")
        if milli is not None and milli > -40_000:  # Jetsons give -256 C for parts that are off
            found[text(zone / "type") or zone.name] = milli / 1e3
    return found


def _megahertz(root: Path, pattern: str, per_mhz: float) -> dict[str, float]:
    values = {path.parent.name: number(path) for path in sorted(root.glob(pattern))}
    return {name: value / per_mhz for name, value in values.items() if value is not None}


def _throttle_counts(root: Path) -> dict[str, int]:
    """Counts that rise when something is slowed down: of x86 CPUs, of a Jetson's over-current, of cooling devices."""
    found: dict[str, int | None] = {}
    for kind in ("core", "package"):
        counts = [number(path) for path in root.glob(f"{_CPU}/cpu*/thermal_throttle/{kind}_throttle_count")]
        if counts:
            found[f"CPU {kind} throttle count"] = sum(count or 0 for count in counts)
    for path in sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")):
        found[f"over-current {path.name.partition('_')[0]}"] = number(path)
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        kind_of = text(device / "type") or ""
        if _THROTTLES.search(kind_of):
            found[f"{kind_of} ({device.name})"] = number(device / "cur_state")
    return {name: count for name, count in found.items() if count is not None}
