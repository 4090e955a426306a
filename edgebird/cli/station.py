"""What `listen` does with its settings: sources, an engine, sinks, a screen, signals."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import typer
from rich.console import Console

from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.cli import shell
from edgebird.cli.screen import Screen
from edgebird.errors import RuntimeUnavailableError
from edgebird.events import Event
from edgebird.formats import formatter
from edgebird.live import service
from edgebird.live.assembly import (
    check_settings,
    make_broadcast,
    make_sinks,
    open_engine,
    open_listener,
    open_listening_bundle,
    station_options,
)
from edgebird.live.engine import Engine
from edgebird.live.listener import Listener
from edgebird.live.reload import Reload
from edgebird.live.service import collecting, keep_steady
from edgebird.live.station import Station
from edgebird.settings.model import StationSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.build import table_options
from edgebird.sinks.groups import SinkGroups
from edgebird.sinks.lines import LineSink
from edgebird.sinks.remote.build import remote_sinks
from edgebird.sinks.terminal import TerminalSink

log = logging.getLogger(__name__)


def run_station(read: Callable[[], StationSettings], reloads: bool) -> None:
    """Listen until all sources end, a signal comes or the time is up.

    read: gives the settings, and again at SIGHUP if `reloads`. Exit code 1 if a file could not be read to its end, 130
    after Ctrl-C; 1 too if a sink hangs at the end.
    """
    with shell.unhindered():
        _run(read, reloads)


def _run(read: Callable[[], StationSettings], reloads: bool) -> None:
    keep_steady()
    settings = read()
    check_settings(settings)
    bundle = open_listening_bundle(settings.detection.bundle)
    shown = _is_shown(settings)
    listeners = [open_listener(one, settings, bundle.card, shell.verbose(), shown) for one in settings.sources]
    with contextlib.ExitStack() as stack:
        engine = open_engine(settings, bundle, shell.say)
        stack.callback(engine.close)
        collect = stack.enter_context(collecting())
        station, telling, screen = _make_station(settings, bundle, engine, shown, collect)
        reload = Reload(station, settings, bundle, read, shell.verbose(), shown) if reloads else None
        came = stack.enter_context(_signals(station, reload))
        if screen:
            stack.enter_context(screen)
        lost = _listen(station, listeners, engine)
    if lost:
        shell.say_error(lost)
        shell.leave(shell.FAILED, well=False)
    if telling.hangs:  # perhaps in a write to stdout, which Python would wait for at its end
        shell.leave(shell.INTERRUPTED if came.interrupted else shell.FAILED)
    if came.interrupted:
        raise KeyboardInterrupt
    for failure in station.failures:
        shell.say_error(failure)
    if station.failures:
        raise typer.Exit(shell.FAILED)


def _is_shown(settings: StationSettings) -> bool:
    """Tell whether a screen shows it: files that are read as fast as can be are none to watch."""
    output, live = settings.output, any(source.kind != "file" or source.realtime for source in settings.sources)
    return live and shell.screen_fits() and not (output.out or output.format or settings.detection.explain)


def _make_station(
    settings: StationSettings, bundle: Bundle, engine: Engine, shown: bool, collect: Callable[[], None]
) -> tuple[Station, SinkGroups, Screen | None]:
    """A station, its sinks, and the screen that shows it, if one does. collect: see `collecting`."""
    rate = bundle.card.sample_rate
    screen = None
    if shown:
        screen = Screen(Console(), rate, lambda name, seconds: station.recent(name, seconds))
    printer = None if screen else _printer(settings, bundle.card)
    told: list[Sink] = [printer, _Accounts()] if printer else [_Accounts()]
    broadcast = make_broadcast(settings)
    kept = make_sinks(settings, bundle, engine.name, told, broadcast)
    groups = [kept, remote_sinks(settings, bundle, engine.name, engine.proof)]
    telling = SinkGroups(groups, at_once=screen.take) if screen else SinkGroups(groups)
    telling.open()
    watchdog = service.Watchdog()

    def tick() -> None:
        watchdog.tick()
        collect()
        if screen:
            screen.show(station.status())
        if broadcast:
            broadcast.show(station)

    station = Station(engine, telling, station_options(settings), tick)
    return station, telling, screen


def _listen(station: Station, listeners: Sequence[Listener], engine: Engine) -> RuntimeUnavailableError | None:
    """Listen; the error where a call of the engine did not come back: nothing may touch it, nor Python's end wait."""
    for listener in listeners:
        station.add(listener)
    service.notify("READY=1")
    try:
        station.run()
    except RuntimeUnavailableError as error:
        if not engine.hangs:
            raise
        return error
    finally:
        service.notify("STOPPING=1")
    return None


# ----------------------------------------------------------------------------------------------------- what is shown
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
        elif event["event"] in ("sink", "engine"):
            error = f" ({event['error']})" if "error" in event else ""
            log.warning("%s: %s%s", event[event["event"]], event["state"], error)


def _account(event: Event) -> str:
    parts = f"{event['scored_s']:.1f} s scored"
    if event["gap_s"] or event["tail_s"]:
        parts += f", {event['gap_s']:.1f} s lost, {event['tail_s']:.1f} s too short to score"
    if event.get("drift_ppm") is not None:
        parts += f", its clock is {event['drift_ppm']:+.0f} ppm off"
    spoken = f", {event['voice_detections']} beside voices not told" if event.get("voice_detections") else ""
    return f"{event['source']}: {event['detections']} detections{spoken}; {parts}"


def _printer(settings: StationSettings, card: Card) -> Sink | None:
    """What prints events where no screen shows them; None where files take them."""
    output = settings.output
    if output.out:
        return None
    if output.format or settings.detection.explain or not shell.stdout_is_terminal():
        options = table_options(output, calibrated=card.calibration is not None)
        return LineSink(sys.stdout, formatter(output.format or "jsonl", card.sample_rate, options))
    return TerminalSink(Console())


# -------------------------------------------------------------------------------------------------------------- signals
@dataclass
class _Signals:
    """Which signal came. interrupted: SIGINT, a person's wish; SIGTERM is the orderly end of a service."""

    interrupted: bool = False


@contextlib.contextmanager
def _signals(station: Station, reload: Reload | None) -> Iterator[_Signals]:
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
