"""edgebird.benchmarks.sensors: energy, clocks, temperatures and throttling, one file for each kind.

A sensor that is not there is said to be missing, with what would help; it is never zero. Readers take the root of the
file system, so that a fake tree tests them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgebird.benchmarks.sensors import jetson, nvml, rapl
from edgebird.benchmarks.sensors.nvml import NvidiaGpu

ROOT = Path("/")


class Meter(Protocol):
    """Something that counts energy."""

    name: str

    def joules(self) -> float:
        """Since some moment in the past; never falls."""
        ...


@dataclass(slots=True)
class Sensors:
    """What this machine has. missing: kind -> why there is none. throttled: what slowed the GPU whenever one looked."""

    meters: list[Meter] = field(default_factory=list)
    gpu: NvidiaGpu | None = None
    missing: dict[str, str] = field(default_factory=dict)
    throttled: set[str] = field(default_factory=set)
    _open: ExitStack = field(default_factory=ExitStack)

    def joules(self) -> Mapping[str, float]:
        """Of every meter; also looks whether the GPU is slowed, which it must be asked while it works."""
        if self.gpu:
            self.throttled.update(self.gpu.slowed_by())
        return {meter.name: meter.joules() for meter in self.meters}

    def close(self) -> None:
        """Stop what reads in the background."""
        self._open.close()


def open_sensors(root: Path = ROOT) -> Sensors:
    """Find all there are."""
    sensors = Sensors()
    try:
        sensors.gpu = nvml.open_gpu()
        sensors._open.callback(sensors.gpu.close)
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
