"""RAPL: the energy counters of x86 processors, one for each package (socket), in microjoules."""

from __future__ import annotations

from pathlib import Path

from edgebird.benchmarks.sensors.files import NoSensorError, text

_FOLDER = "sys/class/powercap"


class RaplMeter:
    """One package. Its counter begins anew after `max_energy_range_uj`: read it every few minutes.

    Raises OSError or ValueError if it, or where it ends, cannot be read.
    """

    resolution_s = 0.001

    def __init__(self, folder: Path) -> None:
        self.name = f"RAPL {text(folder / 'name') or folder.name}"
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
        self._before, self._joules = self._read(), 0.0

    def joules(self) -> float:
        """Since it was opened."""
        now = self._read()
        self._joules += (now - self._before) % (self._range + 1) / 1e6
        self._before = now
        return self._joules

    def _read(self) -> int:
        return int(self._counter.read_text(encoding="ascii"))


def open_meters(root: Path) -> list[RaplMeter]:
    """One for each package; what is inside a package, and the whole platform, would be counted twice."""
    zones = [zone for zone in sorted((root / _FOLDER).glob("intel-rapl:*")) if zone.name.count(":") == 1]
    packages = [zone for zone in zones if (text(zone / "name") or "").startswith("package")]
    if not packages:
        raise NoSensorError("no RAPL packages here (a virtual machine, or no x86 CPU)")
    try:
        return [RaplMeter(package) for package in packages]
    except PermissionError as error:
        raise NoSensorError(f"readable by root alone: sudo chmod a+r /{_FOLDER}/intel-rapl:*/energy_uj") from error
    except (OSError, ValueError) as error:
        raise NoSensorError(f"cannot be read: {error}") from error
