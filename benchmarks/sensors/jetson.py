"""The power monitors of Jetson modules: INA3221, and INA238 on Thor, through the kernel's hwmon files.

They measure power only, in volts and amperes of a rail, so that energy is power summed over time, in a thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgebird.benchmarks.sensors.files import NoSensorError, number, text

_PLACES = ("sys/class/hwmon/hwmon*", "sys/bus/i2c/devices/*/hwmon/hwmon*")
# The channels that measure a rail. Of an INA3221, in4 to in6 are the voltages over the shunts, in7 and curr4 sums of
# channels; in0 of an INA238 is the voltage over the shunt.
_CHANNELS = {"ina3221": (1, 2, 3), "ina238": (1,)}
_WHOLE = ("VIN", "POM_5V_IN", "VDD_IN")  # rails that feed all others, the widest first
_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Rail:
    """A supply of the board: its name, and the files of its voltage in mV and its current in mA."""

    name: str
    millivolts: Path
    milliamperes: Path

    def watts(self) -> float | None:
        """Now; None where it cannot be read."""
        volts, amperes = number(self.millivolts), number(self.milliamperes)
        return None if volts is None or amperes is None else volts * amperes / 1e6


def find_rails(root: Path) -> list[Rail]:
    """Those that can be read now: the channels that are rails, without those that are not connected (NC)."""
    folders = {folder.resolve() for place in _PLACES for folder in root.glob(place)}
    rails = []
    for folder in sorted(folders):
        chip = text(folder / "name") or ""
        for channel in _CHANNELS.get(chip, ()):
            label = text(folder / f"in{channel}_label") or ("VIN" if chip == "ina238" else f"{chip} {channel}")
            rail = Rail(label, folder / f"in{channel}_input", folder / f"curr{channel}_input")
            if label != "NC" and rail.watts() is not None:
                rails.append(rail)
    return rails


def whole_of(rails: list[Rail]) -> list[Rail]:
    """The rails whose sum is the power of the module: the one that feeds the others, or all."""
    for name in _WHOLE:
        if found := [rail for rail in rails if rail.name == name]:
            return found[:1]
    return rails


class PowerMeter:
    """Energy of some rails together, from their power every 50 ms; `close` ends the thread."""

    resolution_s = _EVERY_S

    def __init__(self, rails: list[Rail], clock: Callable[[], float] = time.monotonic) -> None:
        self.name = " + ".join(rail.name for rail in rails)
        self._rails, self._clock = rails, clock
        self._lock, self._end = threading.Lock(), threading.Event()
        self._joules, self._watts, self._at = 0.0, self._power(), clock()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)

    def start(self) -> PowerMeter:
        """Read on its own from now on."""
        self._thread.start()
        return self

    def joules(self) -> float:
        """Since it was opened."""
        with self._lock:
            now, watts = self._clock(), self._power()
            self._joules += (self._watts + watts) / 2 * (now - self._at)
            self._watts, self._at = watts, now
            return self._joules

    def _power(self) -> float:
        """All rails now; one that cannot be read for a moment makes it what it was."""
        watts = [rail.watts() for rail in self._rails]
        known = [value for value in watts if value is not None]
        return sum(known) if len(known) == len(watts) else getattr(self, "_watts", 0.0)

    def _run(self) -> None:
        while not self._end.wait(_EVERY_S):
            self.joules()

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()


def open_meter(root: Path) -> PowerMeter:
    """The power of the module, read in the background."""
    rails = whole_of(find_rails(root))
    if not rails:
        raise NoSensorError("no INA3221 or INA238 here (no Jetson, or a carrier board without)")
    return PowerMeter(rails).start()
