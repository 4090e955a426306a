"""What `listen` does with its settings: sources, an engine, sinks, a screen, signals."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.console import Console

from edgebird.bundle import Bundle, open_bundle
from edgebird.cli import shell
from edgebird.cli.screen import Screen
from edgebird.detection import detection_settings
from edgebird.errors import BundleError, EdgebirdError
from edgebird.events import Event
from edgebird.formats import formatter, require_fitting
from edgebird.live import service
from edgebird.live.assembly import listen_options, open_listener
from edgebird.live.listener import Listener
from edgebird.live.service import keep_steady
from edgebird.live.station import Station, StationOptions
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.settings.model import StationSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.build import keeping_sinks
from edgebird.sinks.clips import ClipSink, Provenance
from edgebird.sinks.folder import FolderSink
from edgebird.sinks.lines import LineSink
from edgebird.sinks.retention import Limits, Retention
from edgebird.sinks.terminal import TerminalSink
from edgebird.sinks.thread import SinkThread

log = logging.getLogger(__name__)

# What a station cannot change while it runs.
_FIXED = ("bundle", "runtime", "precision", "threads", "hop_s")


def run_station(read: Callable[[], StationSettings], reloads: bool) -> None:
    """Listen until all sources end, a signal comes or the time is up.

    read: gives the settings, and again at SIGHUP if `reloads`. Exit code 1 if a file could not be read to its end, 130
    after Ctrl-C; 1 too if a sink hangs at the end.
    """
    keep_steady()
    settings = read()
    _check(settings)
    bundle = _listening_bundle(settings.detection.bundle)
    shown = _is_shown(settings)
    listeners = [open_listener(one, settings, bundle.card, shell.verbose(), shown) for one in settings.sources]
    with contextlib.ExitStack() as stack:
        several = len(settings.sources) > 1  # whose windows are due together
        options = RuntimeOptions(settings.detection.precision, settings.detection.threads, throughput=several)
        runtime = open_runtime(bundle, settings.detection.runtime, options, shell.say)
        stack.callback(runtime.close)
        station, telling, screen = _make_station(settings, bundle, runtime, shown)
        reload = _Reload(station, settings, bundle, read, shown) if reloads else None
        came = stack.enter_context(_signals(station, reload))
        if screen:
            stack.enter_context(screen)
        _listen(station, listeners)
    if telling.hangs:  # perhaps in a write to stdout, which Python would wait for at its end
        os._exit(shell.INTERRUPTED if came.interrupted else shell.FAILED)
    if came.interrupted:
        raise KeyboardInterrupt
    for failure in station.failures:
        shell.say_error(failure)
    if station.failures:
        raise typer.Exit(shell.FAILED)


def _listening_bundle(path: Path) -> Bundle:
    bundle = open_bundle(path)
    if bundle.card.db_floor == "batch":
        raise BundleError(
            f"{path}: its db_floor is batch, so a window's score depends on the three beside it: "
            "listen with a bundle exported with --db-floor window, or use detect"
        )
    return bundle


def _is_shown(settings: StationSettings) -> bool:
    """Tell whether a screen shows it: files that are read as fast as can be are none to watch."""
    output, live = settings.output, any(source.kind != "file" or source.realtime for source in settings.sources)
    return live and shell.screen_fits() and not (output.out or output.format or settings.detection.explain)


def _make_station(
    settings: StationSettings, bundle: Bundle, runtime: Runtime, shown: bool
) -> tuple[Station, SinkThread, Screen | None]:
    """A station, its sinks, and the screen that shows it, if one does."""
    rate, output = bundle.card.sample_rate, settings.output
    screen = None
    if shown:
        screen = Screen(Console(), rate, lambda name, seconds: station.recent(name, seconds))
    printer = None if screen else _printer(settings, rate)
    # What is kept comes before what is shown: a reader of stdout that has gone ends the program.
    told: list[Sink] = [printer, _Accounts()] if printer else [_Accounts()]
    sinks = [*keeping_sinks(output, rate), *told, *_makers(settings, bundle, runtime)]
    telling = SinkThread(sinks, at_once=screen.take) if screen else SinkThread(sinks)
    telling.open()
    watchdog = service.Watchdog()

    def tick() -> None:
        watchdog.tick()
        if screen:
            screen.show(station.status())

    station = Station(runtime, telling, _station_options(settings), tick)
    return station, telling, screen


def _listen(station: Station, listeners: Sequence[Listener]) -> None:
    for listener in listeners:
        station.add(listener)
    service.notify("READY=1")
    try:
        station.run()
    finally:
        service.notify("STOPPING=1")


def _check(settings: StationSettings) -> None:
    output = settings.output
    several = "source" if len(settings.sources) > 1 and not output.out else ""
    require_fitting(output.format, settings.detection.explain, several)
    if output.out:
        FolderSink.check([(source.name, source.kind == "file") for source in settings.sources])


def _station_options(settings: StationSettings) -> StationOptions:
    detection = settings.detection
    place = None if detection.latitude is None else (detection.latitude, detection.longitude or 0.0)
    return StationOptions(detection.hop_s, settings.duration_s, settings.stats_every_s, place)


# ---------------------------------------------------------------------------------------------------------------- sinks
def _makers(settings: StationSettings, bundle: Bundle, runtime: Runtime) -> list[Sink]:
    """What makes events of its own; it has to stand at the end of the chain."""
    clips = settings.output.clips
    if clips is None:
        return []
    limits = Limits(clips.max_age_days, clips.max_size, clips.min_free, clips.best_per_species)
    return [Retention(clips.folder, limits), ClipSink(clips, _provenance(settings, bundle, runtime))]


def _provenance(settings: StationSettings, bundle: Bundle, runtime: Runtime) -> Provenance:
    detection = settings.detection
    position = None if detection.latitude is None else (detection.latitude, detection.longitude or 0.0)
    digest = bundle.card.precisions[detection.precision].sha256[:12]
    model = f"{detection.bundle.resolve().name} {detection.precision} sha256:{digest} on {runtime.name}"
    return Provenance(position, model)


class _Accounts(Sink):
    """Tells the account of each source on stderr when it ends, and what a person should know at once."""

    name = "stderr"

    def take(self, event: Event, memory: Memory | None) -> None:
        """Tell what is worth telling."""
        if event["event"] == "summary":
            shell.say(_account(event))
        elif event["event"] == "source" and event["state"] not in ("open", "closed"):
            (log.info if event["state"] == "recovered" else log.warning)(
                "%s: %s%s", event["source"], event["state"], f" ({event['detail']})" if event["detail"] else ""
            )
        elif event["event"] == "sink":
            log.warning("%s: %s%s", event["sink"], event["state"], f" ({event['error']})" if "error" in event else "")


def _account(event: Event) -> str:
    parts = f"{event['scored_s']:.1f} s scored"
    if event["gap_s"] or event["tail_s"]:
        parts += f", {event['gap_s']:.1f} s lost, {event['tail_s']:.1f} s too short to score"
    if event.get("drift_ppm") is not None:
        parts += f", its clock is {event['drift_ppm']:+.0f} ppm off"
    return f"{event['source']}: {event['detections']} detections; {parts}"


def _printer(settings: StationSettings, rate: int) -> Sink | None:
    """What prints events where no screen shows them; None where files take them."""
    output = settings.output
    if output.out:
        return None
    if output.format or settings.detection.explain or not shell.stdout_is_terminal():
        return LineSink(sys.stdout, formatter(output.format or "jsonl", rate))
    return TerminalSink(Console())


# -------------------------------------------------------------------------------------------------------------- signals
@dataclass
class _Signals:
    """Which signal came. interrupted: SIGINT, a person's wish; SIGTERM is the orderly end of a service."""

    interrupted: bool = False


@contextlib.contextmanager
def _signals(station: Station, reload: _Reload | None) -> Iterator[_Signals]:
    """Stop at the first SIGINT or SIGTERM, at the second SIGINT at once; SIGHUP reloads, or stops without `reload`.

    A terminal that is closed sends SIGHUP too: that stops. Under nohup SIGHUP stays ignored.
    """
    came = _Signals()
    had_terminal = _has_terminal()

    def stop(number: int, _frame: object) -> None:
        if came.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.interrupted = number == signal.SIGINT
        station.stop()

    def hang_up(number: int, frame: object) -> None:
        if reload is None or (had_terminal and not _has_terminal()):
            stop(number, frame)
        else:
            station.request(reload)

    wanted = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: hang_up}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del wanted[signal.SIGHUP]
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


@dataclass
class _Reload:
    """Reads the settings again and changes what can be changed while listening goes on."""

    station: Station
    settings: StationSettings
    bundle: Bundle
    read: Callable[[], StationSettings]
    shown: bool

    def __call__(self) -> None:
        """Change everything or, if the new settings are wrong, nothing."""
        try:
            new = self.read()
            card = self.bundle.card
            fixed = {name: getattr(self.settings.detection, name) for name in _FIXED}
            self._tell_what_stays(new)
            new = replace(new, detection=replace(new.detection, **fixed), output=self.settings.output)
            judge, options = detection_settings(new.detection, card), listen_options(new, self.shown)
            old_sources = set(self.settings.sources)
            missing = [source for source in new.sources if source not in old_sources]
            added = [open_listener(source, new, card, shell.verbose(), self.shown) for source in missing]
        except (EdgebirdError, OSError) as error:
            log.error("the new settings are wrong, the old ones stay: %s", error)
            return
        kept = {source.name for source in new.sources if source in old_sources}
        for listener in self.station.listeners:
            if listener.name in kept:
                listener.change(judge, options)
            else:
                listener.feed.stop()
        for listener in added:
            self.station.add(listener)
        self.settings = new
        log.info("settings read again: %d sources stay, %d are new", len(kept), len(added))

    def _tell_what_stays(self, new: StationSettings) -> None:
        stay = [name for name in _FIXED if getattr(new.detection, name) != getattr(self.settings.detection, name)]
        stay += [n for n in ("output", "buffer_s", "stats_every_s") if getattr(new, n) != getattr(self.settings, n)]
        if stay:
            log.warning("these settings change at the next start only: %s", ", ".join(stay))
