"""edgebird.benchmarks.sensors: energy, clocks, temperatures and throttling, one file for each kind.

A sensor that is not there is said to be missing, with what would help; it is never zero. Readers take the root of the
file system, so that a fake tree tests them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgebird.benchmarks.sensors import jetson, nvml, rapl, system
from edgebird.benchmarks.sensors.nvml import NvidiaGpu

ROOT = Path("/")

_EVERY_S = 1.0  # RAPL counters begin anew after minutes, heat comes and goes in seconds
_RESOLUTIONS = 20


class Meter(Protocol):
    """Something that counts energy."""

    name: str
    resolution_s: float  # how often it moves

    def joules(self) -> float:
        """Since some moment in the past; never falls."""
        ...


@dataclass(slots=True)
class Sensors:
    """What this machine has. missing: kind -> why there is none. throttled: what slowed it whenever one looked.

    root: of the file system with the cooling devices, None for none of them.
    """

    meters: list[Meter] = field(default_factory=list)
    gpu: NvidiaGpu | None = None
    missing: dict[str, str] = field(default_factory=dict)
    throttled: set[str] = field(default_factory=set)
    root: Path | None = None
    _open: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def turn_s(self) -> float:
        """How long a subject must be measured at once, so that what its neighbours used is at most 5 % of it."""
        return _RESOLUTIONS * max((meter.resolution_s for meter in self.meters), default=0.0)

    def joules(self) -> Mapping[str, float]:
        """Of every meter; also looks whether anything is slowed, which must be seen while it works."""
        with self._lock:
            if self.gpu:
                self.throttled.update(self.gpu.slowed_by() or ())
            if self.root:
                self.throttled.update(system.cooled(system.cooling_levels(self.root)))
            return {meter.name: meter.joules() for meter in self.meters}

    def watch(self, every_s: float = _EVERY_S) -> None:
        """Look by itself until `close`: long turns hide what was slowed in between, and counters that begin anew."""
        end = threading.Event()

        def look() -> None:
            while not end.wait(every_s):
                self.joules()

        thread = threading.Thread(target=look, name="sensors", daemon=True)
        thread.start()
        self._open.callback(thread.join)
        self._open.callback(end.set)

    def close(self) -> None:
        """Stop what reads in the background."""
        self._open.close()


def open_sensors(root: Path = ROOT) -> Sensors:
    """Find all there are."""
    sensors = Sensors(root=root)
    told = system.throttle_counts(root) | system.cooling_levels(root)
    sensors.missing |= {name: "cannot be read" for name, value in told.items() if value is None}
    try:
        sensors.gpu = nvml.open_gpu()
        sensors._open.callback(sensors.gpu.close)
        if sensors.gpu.slowed_by() is None:
            sensors.missing["NVIDIA GPU throttling (NVML)"] = f"{sensors.gpu.name} does not tell what slows it"
        sensors.meters.append(sensors.gpu.energy())
    except nvml.NoSensorError as error:
        sensors.missing["NVIDIA GPU (NVML)"] = str(error)
    try:
        meter = jetson.open_meter(root)
        sensors._open.callback(meter.close)
        sensors.meters.append(meter)
    except nvml.NoSensorError as error:
        sensors.missing["Jetson (INA3221, INA238)"] = str(error)
    try:
        sensors.meters.extend(rapl.open_meters(root))
    except nvml.NoSensorError as error:
        sensors.missing["CPU (RAPL)"] = str(error)
    return sensors
