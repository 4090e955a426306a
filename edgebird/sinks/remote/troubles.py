"""What is wrong with a station for so long that somebody should know: deaf or silent sources, disks that are full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgebird.events import Event
from edgebird.settings.telling import ENOUGH_FREE, AlertSettings
from edgebird.sinks.remote.disks import Disk

_ENGINE = ""  # in the place of a source: without it all are deaf
_DEAF = "deaf"
_ENOUGH = 1.1  # times what is to be free, before a disk counts as emptied


class Troubles:
    """Takes events, and says once for each alert what has lasted for its minutes.

    steady: seconds of a clock that nobody sets.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._since: dict[tuple[str, str], float] = {}  # (what, source) -> since when
        self._details: dict[tuple[str, str], str] = {}
        self._told: set[tuple[str, str, str]] = set()  # (alert, what, source)

    def take(self, event: Event) -> None:
        """Take note of an event."""
        if event["event"] == "engine":
            self._set(_DEAF, _ENGINE, event, event["state"] == "failed", event.get("error", ""))
        elif event["event"] == "source":
            for what, state in ((_DEAF, "lost"), ("silent", "silent")):
                self._set(what, event["source"], event, event["state"] == state, event["detail"])

    def due(self, alert: AlertSettings, disks: Mapping[Path, Disk]) -> Iterator[tuple[str, str]]:
        """Yield title and text of what is to be told now."""
        for (what, source), since in self._since.items():
            minutes = (self._steady() - since) / 60
            if what in alert.when and minutes >= alert.minutes and self._is_new(alert, what, source):
                yield _lasting(what, source, minutes), self._details[what, source]
        if "disk-low" in alert.when:
            yield from self._low(alert, disks)

    def _low(self, alert: AlertSettings, disks: Mapping[Path, Disk]) -> Iterator[tuple[str, str]]:
        wanted = ENOUGH_FREE if alert.free is None else alert.free
        for path, disk in disks.items():
            if disk.free < wanted and self._is_new(alert, "disk-low", str(path)):
                yield f"{disk.free / 1e9:.1f} GB are left for {path}", f"of {disk.size / 1e9:.1f} GB"
            elif disk.free > wanted * _ENOUGH:
                self._told.discard((alert.name, "disk-low", str(path)))

    def _set(self, what: str, source: str, event: Event, holds: bool, detail: str) -> None:
        if not holds:
            self._since.pop((what, source), None)
            self._told = {told for told in self._told if told[1:] != (what, source)}
        elif (what, source) not in self._since:
            self._since[what, source] = self._steady()
            self._details[what, source] = detail

    def _is_new(self, alert: AlertSettings, what: str, source: str) -> bool:
        told = alert.name, what, source
        if told in self._told:
            return False
        self._told.add(told)
        return True


def _lasting(what: str, source: str, minutes: float) -> str:
    who = "the engine has scored nothing" if source == _ENGINE else f"{source} is {what}"
    return f"{who} for {minutes:.0f} minutes"
