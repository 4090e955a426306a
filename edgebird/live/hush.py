"""How a source is listened to, and when nothing of it is reported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from edgebird.conditioning import SoundOptions
from edgebird.hours import within
from edgebird.settings.hours import Spans
from edgebird.voices import Voices


@dataclass(frozen=True)
class ListenOptions:
    """How a source is listened to.

    timezone: of event times, None for the machine's. quiet_hours: in which nothing is reported; listen_hours: outside
    of which nothing is, none for always. explain: tell rejected candidates. history_s: how much sound is remembered.
    place: latitude and longitude in degrees. sound: what is done with it before it is scored. voices: finds those for
    which a detection is not reported, None if all are.
    """

    timezone: tzinfo | None = None
    quiet_hours: Spans = ()
    explain: bool = False
    history_s: float = 0.0
    listen_hours: Spans = ()
    place: tuple[float, float] | None = None
    sound: SoundOptions | None = None
    voices: Voices | None = None

    def refusal(self, moment: datetime | None) -> str | None:
        """Why nothing that begins at a moment is reported; None if it is, or if nobody knows when that was."""
        if moment is None:
            return None
        if self.quiet_hours and within(self.quiet_hours, moment, self.place):
            return "quiet_hours"
        if self.listen_hours and not within(self.listen_hours, moment, self.place):
            return "outside_listen_hours"
        return None
