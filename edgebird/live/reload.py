"""Reading the settings again while a station listens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgebird.bundle import Bundle
from edgebird.detection import detection_settings
from edgebird.errors import EdgebirdError
from edgebird.live.assembly import listen_options, open_listener
from edgebird.live.listener import Listener
from edgebird.live.station import Station
from edgebird.settings.build import keep_fixed
from edgebird.settings.model import SourceSettings, StationSettings

log = logging.getLogger(__name__)


@dataclass
class Reload:
    """Reads the settings again and changes what can be changed while listening goes on.

    It is work for `Station.request`: the station's own thread does it between two passes.
    settings: those that the station has now.
    read: gives the new ones; may raise EdgebirdError or OSError.
    verbose, shown: as `open_listener` had them.
    """

    station: Station
    settings: StationSettings
    bundle: Bundle
    read: Callable[[], StationSettings]
    verbose: bool = False
    shown: bool = False

    def __call__(self) -> None:
        """Change everything or, if the new settings are wrong, nothing."""
        try:
            new = self._read()
            judged, options = detection_settings(new.detection, self.bundle.card), listen_options(new, self.shown)
            old_sources = set(self.settings.sources)
            added = self._opened([source for source in new.sources if source not in old_sources], new)
        except (EdgebirdError, OSError) as error:
            log.error("the new settings are wrong, the old ones stay: %s", error)
            return
        kept = {source.name for source in new.sources if source in old_sources}
        for listener in self.station.listeners:
            if listener.name in kept:
                listener.change(judged, options)
            else:
                listener.feed.stop()
        for listener in added:
            self.station.add(listener)
        self.settings = new
        log.info("settings read again: %d sources stay, %d are new", len(kept), len(added))

    def _read(self) -> StationSettings:
        """The new settings, with the old values of those that only a start can change."""
        new, stay = keep_fixed(self.settings, self.read())
        if stay:
            log.warning("these settings change at the next start only: %s", ", ".join(stay))
        return new

    def _opened(self, sources: Sequence[SourceSettings], new: StationSettings) -> list[Listener]:
        return [open_listener(source, new, self.bundle.card, self.verbose, self.shown) for source in sources]
