"""Clocks, temperatures and throttle counts as the kernel tells them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
        "throttle": {name: count for name, count in throttle_counts(root).items() if count is not None},
        "cooling": {name: level for name, level in cooling_levels(root).items() if level is not None},
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
    """What slowed the machine down between two states: counts that rose, and what cooled it in one of them."""
    counts = before["throttle"]
    rose = [f"{name} rose" for name, count in after["throttle"].items() if count > counts.get(name, count)]
    return list(dict.fromkeys([*rose, *cooled(before["cooling"]), *cooled(after["cooling"])]))


def cooled(levels: Mapping[str, int | None]) -> list[str]:
    """What slows something down now, from `cooling_levels`."""
    return [f"{name} was on" for name, level in levels.items() if level]


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


def cooling_levels(root: Path) -> dict[str, int | None]:
    """How far cooling devices slow something down now, 0 for not at all; None for one that cannot be read."""
    devices = {path: text(path / "type") or "" for path in sorted(root.glob("sys/class/thermal/cooling_device*"))}
    return {
        f"{kind} ({path.name})": number(path / "cur_state") for path, kind in devices.items() if _THROTTLES.search(kind)
    }


def throttle_counts(root: Path) -> dict[str, int | None]:
    """Counts that rise when something is slowed down, of x86 CPUs and of a Jetson's over-current.

    None for one that cannot be read.
    """
    found: dict[str, int | None] = {}
    for kind in ("core", "package"):
        counts = [number(path) for path in root.glob(f"{_CPU}/cpu*/thermal_throttle/{kind}_throttle_count")]
        if counts:
            known = [count for count in counts if count is not None]
            found[f"CPU {kind} throttle count"] = sum(known) if len(known) == len(counts) else None
    for path in sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")):
        found[f"over-current {path.name.partition('_')[0]}"] = number(path)
    return found
