"""Settings of what is done where somebody speaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgebird.settings import checks
from edgebird.settings.row import Option, Setting, set_by

CLIPS = "Clips"
ACTIONS = ("drop-clip", "mute")


# fmt: off
@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What becomes of clips with voices. action: one of ACTIONS. threshold: of the detector. margin_s: around them."""

    action: str = field(metadata=set_by(
        Setting("voices", "Clips with voices: drop-clip writes none, mute makes these seconds silent.",
                checks.choice(lambda: ACTIONS), Option("--voices", "drop-clip|mute", CLIPS), example="mute",
                missing="settings of privacy, but not what to do: give --voices mute, or voices = in [privacy]",
                fixed=True)))
    threshold: float = field(default=0.2, metadata=set_by(
        Setting("threshold", "From this certainty on it is a voice, default {default}.", checks.number(0.01, 1),
                Option("--voice-threshold", "X", CLIPS), fixed=True)))
    margin_s: float = field(default=1.0, metadata=set_by(
        Setting("margin", "Seconds around a voice that count too, default {default}.", checks.number(0, 60, "seconds"),
                Option("--voice-margin", "S", CLIPS), fixed=True)))
