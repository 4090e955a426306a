"""Reading the settings again while a station listens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgebird.bundle import Bundle
from edgebird.detection import Settings, source_settings
from edgebird.errors import EdgebirdError
from edgebird.live.assembly import check_settings, listen_options, open_listener
from edgebird.live.hush import ListenOptions
from edgebird.live.listener import Listener
from edgebird.live.station import Station
from edgebird.settings.build import keep_fixed
from edgebird.settings.model import StationSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _New:
    """What was read.

    settings: all of them. judged: how sources that stay are judged and listened to now, by name.
    added: sources that the station has not yet.
    """

    settings: StationSettings
    judged: Mapping[str, tuple[Settings, ListenOptions]]
    added: Sequence[Listener]


@dataclass
class Reload:
    """Reads the settings again and changes what can be changed while listening goes on.

    It is work for `Station.request`: the station's own thread does it between two passes. Another thread reads the
    files and opens the sources, so that scoring does not wait for a disk.
    settings: those that the station has now.
    read: gives the new ones, called on that thread; may raise EdgebirdError or OSError.
    verbose, shown: as `open_listener` had them.
    """

    station: Station
    settings: StationSettings
    bundle: Bundle
    read: Callable[[], StationSettings]
    verbose: bool = False
    shown: bool = False
    _reading: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Begin to read; change everything soon or, if the new settings are wrong, nothing."""
        if self._reading:
            self._again = True  # the files may have changed since they were read
            return
        self._reading = True
        threading.Thread(target=self._prepare, name="reload", daemon=True).start()

    def _prepare(self) -> None:
        new: _New | None = None
        try:
            new = self._new()
        except (EdgebirdError, OSError) as error:
            log.error("the new settings are wrong, the old ones stay: %s", error)
        except Exception:
            log.exception("a fault in edgebird, the old settings stay")
        finally:
            self.station.request(lambda: self._finish(new))

    def _new(self) -> _New:
        """Read and open, without changing anything."""
        settings = self._read()
        check_settings(settings)
        old_sources = set(self.settings.sources)
        judged = {
            source.name: (
                source_settings(source, settings.detection, self.bundle.card),
                listen_options(source, settings, self.shown),
            )
            for source in settings.sources
            if source in old_sources
        }
        opened = [
            open_listener(source, settings, self.bundle.card, self.verbose, self.shown)
            for source in settings.sources
            if source not in old_sources
        ]
        return _New(settings, judged, opened)

    def _finish(self, new: _New | None) -> None:
        """Change everything, on the station's thread; nothing for None."""
        if new:
            self._change(new)
        self._reading = False
        if self._again:
            self._again = False
            self()

    def _change(self, new: _New) -> None:
        for listener in self.station.listeners:
            if listener.name in new.judged:
                listener.change(*new.judged[listener.name])
            else:
                self.station.remove(listener)
        for listener in new.added:
            self.station.add(listener)
        self.settings = new.settings
        log.info("settings read again: %d sources stay, %d are new", len(new.judged), len(new.added))

    def _read(self) -> StationSettings:
        """The new settings, with the old values of those that only a start can change."""
        new, stay = keep_fixed(self.settings, self.read())
        if stay:
            log.warning("these settings change at the next start only: %s", ", ".join(stay))
        return new
