"""From a station's settings to what runs: feeds and listeners."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgebird.capture.blocks import block_s
from edgebird.card import Card
from edgebird.detection import LONGEST_S, detection_settings
from edgebird.errors import EdgebirdError, UsageError
from edgebird.live.captured import LiveOptions, LiveSource
from edgebird.live.feed import Feed
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.process import Capture
from edgebird.live.pulled import PacedSource, PcmFormat, PulledSource, pcm_blocks
from edgebird.settings.model import SourceSettings, StationSettings
from edgebird.sources import FileSource
from edgebird.timestamps import parse_timezone
from edgebird.types import Origin

_AFTER_S = 30.0  # for clips: windows, inference and writing that are still to come when a detection is over
_SCREEN_S = 15.0
_STREAM_TIMEOUT_S = 5.0


def listen_options(settings: StationSettings, shown: bool = False) -> ListenOptions:
    """How every source is listened to. shown: on a screen."""
    clips, detection = settings.output.clips, settings.detection
    around_s = LONGEST_S + clips.pre_s + clips.post_s + _AFTER_S + settings.buffer_s if clips else 0.0
    return ListenOptions(
        timezone=parse_timezone(detection.timezone) if detection.timezone else None,
        quiet_hours=detection.quiet_hours,
        explain=detection.explain,
        history_s=max(around_s, _SCREEN_S if shown else 0.0),
    )


def open_listener(
    source: SourceSettings, settings: StationSettings, card: Card, verbose: bool = False, shown: bool = False
) -> Listener:
    """A source, not started yet. Raises AudioError for an unreadable file, EdgebirdError for a missing extra."""
    options = listen_options(settings, shown)
    judged = detection_settings(settings.detection, card)
    opening = _Opening(card.sample_rate, block_s(card.window_samples, judged.hop, card.sample_rate), verbose)
    feed, origin = _open_feed(source, settings, options, opening)
    return Listener(feed, card, judged, options, origin)


@dataclass(frozen=True, slots=True)
class _Opening:
    """How sources are opened. rate: of the model, Hz. block_s: see `blocks`."""

    rate: int
    block_s: float
    verbose: bool


def _open_feed(
    source: SourceSettings, settings: StationSettings, options: ListenOptions, opening: _Opening
) -> tuple[Feed, Origin]:
    origin, rate = Origin(source.name), opening.rate
    common = {"block_s": opening.block_s, "verbose": opening.verbose}
    live = LiveOptions(rate, settings.buffer_s, source.channel, clocked=source.kind == "mic")
    if source.kind == "mic":
        _require("sounddevice", "mic")
        device = {"device": source.address or None, "channel": source.channel, "rate": None}
        return LiveSource(source.name, Capture("edgebird.capture.microphone", device | common), live), origin
    if source.kind == "url":
        _require("av", "stream")
        address = {"url": source.address, "transport": source.transport, "timeout_s": _STREAM_TIMEOUT_S}
        return LiveSource(source.name, Capture("edgebird.capture.stream", address | common), live), origin
    if source.kind == "stdin":
        form = PcmFormat.parse(source.address)
        if sys.stdin is None:
            raise UsageError("--stdin: standard input is closed")
        if source.channel is not None and source.channel > form.channels:
            raise UsageError(f"channel {source.channel}: {source.address} has {form.channels}")
        pcm = partial(pcm_blocks, sys.stdin.buffer, form, source.channel, rate, opening.block_s)
        return PulledSource(source.name, pcm, rate, live=True), origin
    file = FileSource(Path(source.address), rate, source.name, options.timezone)
    if source.realtime:
        return PacedSource(source.name, file.blocks, rate, settings.buffer_s, opening.block_s), file.origin
    return PulledSource(source.name, file.blocks, rate), file.origin


def _require(module: str, extra: str) -> None:
    """Say at once what would otherwise be tried again and again."""
    if importlib.util.find_spec(module) is None:
        raise EdgebirdError(f"{extra} sources need {module}: pip install 'edgebird[{extra}]'")
