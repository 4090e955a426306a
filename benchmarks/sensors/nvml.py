"""NVML: what NVIDIA's driver tells of a GPU in a PC; Jetsons have little of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from edgebird.benchmarks.sensors.files import NoSensorError

__all__ = ["NoSensorError", "NvidiaGpu", "open_gpu"]

_SLOW = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")


class NvidiaGpu:
    """The only GPU. What it does not tell is left out, never zero."""

    def __init__(self, pynvml: Any) -> None:
        self._nvml: Any = pynvml
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.name = _string(pynvml.nvmlDeviceGetName(self._handle))
        self.driver = _string(pynvml.nvmlSystemGetDriverVersion())

    def state(self) -> dict[str, Any]:
        """Clocks in MHz, temperature, memory in use, and what slows it, as far as it tells."""
        nvml, handle = self._nvml, self._handle
        asked: dict[str, Callable[[], Any]] = {
            "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "memory_used_mb": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
        }
        found: dict[str, Any] = {}
        for name, ask in asked.items():
            try:
                found[name] = ask()
            except nvml.NVMLError:
                continue
        slowed_by = self.slowed_by()
        return found if slowed_by is None else found | {"slowed_by": slowed_by}

    def slowed_by(self) -> list[str] | None:
        """Why its clocks are lower than they could be; idleness and chosen clocks are no reasons.

        None where it does not tell.
        """
        nvml = self._nvml
        # The reasons were called throttle reasons until driver 535.
        kind = "Event" if hasattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons") else "Throttle"
        try:
            bits = getattr(nvml, f"nvmlDeviceGetCurrentClocks{kind}Reasons")(self._handle)
        except nvml.NVMLError:
            return None
        return [name for name in _SLOW if bits & getattr(nvml, f"nvmlClocks{kind}Reason{name}")]

    def energy(self) -> NvmlMeter:
        """Its energy counter. Raises NoSensorError where it has none: before Volta, and on Jetsons."""
        meter = NvmlMeter(self._nvml, self._handle, f"NVML {self.name}")
        try:
            meter.joules()
        except self._nvml.NVMLError as error:
            raise NoSensorError(f"{self.name} counts no energy ({error})") from error
        return meter

    def close(self) -> None:
        """Leave NVML."""
        self._nvml.nvmlShutdown()


class NvmlMeter:
    """The GPU board's own counter, in millijoules since the driver was loaded."""

    resolution_s = 0.1

    def __init__(self, pynvml: Any, handle: Any, name: str) -> None:
        self._nvml, self._handle, self.name = pynvml, handle, name

    def joules(self) -> float:
        """Since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3


def _string(value: str | bytes) -> str:
    """Old versions of nvidia-ml-py give bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def open_gpu() -> NvidiaGpu:
    """The only GPU. Raises NoSensorError if there is none or more than one, no driver or no nvidia-ml-py."""
    try:
        pynvml: Any = importlib.import_module("pynvml")
    except ImportError as error:
        raise NoSensorError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoSensorError(f"no NVIDIA driver answers ({error})") from error
    try:
        if (count := pynvml.nvmlDeviceGetCount()) > 1:  # which NVML and CUDA number differently
            raise NoSensorError(f"{count} GPUs here, and NVML cannot say which of them computes")
        return NvidiaGpu(pynvml)
    except (pynvml.NVMLError, NoSensorError) as error:
        pynvml.nvmlShutdown()
        raise NoSensorError(str(error)) from error
