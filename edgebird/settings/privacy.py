"""Settings of what is done where somebody speaks."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgebird.settings import checks
from edgebird.settings.row import Option, Setting, set_by

CLIPS = "Clips"
DROP_DETECTION = "drop-detection"
ACTIONS = ("drop-clip", "mute", DROP_DETECTION)
_BOTH = ("listen", "detect")


# fmt: off
@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What becomes of what voices are in. action: one of ACTIONS. threshold: of the detector. margin_s: around them."""

    action: str = field(metadata=set_by(
        Setting("voices", "Where somebody speaks: mute makes these seconds of clips silent, drop-clip writes no such "
                "clip, drop-detection reports no such detection either.", checks.choice(lambda: ACTIONS),
                Option("--voices", "mute|drop-clip|drop-detection", CLIPS, _BOTH), example="mute",
                missing="settings of privacy, but not what to do: give --voices, or voices = in [privacy]",
                fixed=True)))
    threshold: float = field(default=0.8, metadata=set_by(
        Setting("threshold", "From this certainty on it is a voice, default {default}.", checks.number(0.01, 1),
                Option("--voice-threshold", "X", CLIPS, _BOTH), fixed=True)))
    margin_s: float = field(default=1.0, metadata=set_by(
        Setting("margin", "Seconds around a voice that count too, default {default}.", checks.number(0, 60, "seconds"),
                Option("--voice-margin", "S", CLIPS, _BOTH), fixed=True)))

    @property
    def drops_detections(self) -> bool:
        """Whether what is detected where somebody speaks is not reported."""
        return self.action == DROP_DETECTION
