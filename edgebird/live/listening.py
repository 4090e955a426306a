"""`edgebird.listen`: a station whose events a Python program takes one by one."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from edgebird.bundle import Bundle
from edgebird.errors import AudioError, EdgebirdError, UsageError
from edgebird.events import Event
from edgebird.live.assembly import (
    check_settings,
    make_broadcast,
    make_sinks,
    open_engine,
    open_listener,
    open_listening_bundle,
    prove_at_start,
    station_options,
)
from edgebird.live.engine import Engine
from edgebird.live.event_queue import EventQueue
from edgebird.live.station import Station
from edgebird.runtimes import Runtime
from edgebird.settings.keywords import Addresses, keyword_settings
from edgebird.settings.model import StationSettings
from edgebird.sinks import Sink
from edgebird.sinks.groups import SinkGroups
from edgebird.sinks.remote.build import remote_sinks

log = logging.getLogger(__name__)

QUEUE_SIZE = 10_000
_END_S = 75.0  # a station needs less to end, whatever its sources and sinks do


def listen(
    source: Addresses | StationSettings | None = None,
    /,
    *,
    config: str | os.PathLike[str] | None = None,
    runtime: str | Runtime | None = None,
    sinks: Sequence[Sink] = (),
    queue_size: int = QUEUE_SIZE,
    **settings: Any,
) -> Listening:
    """Listen to microphones, streams and files, and give what happens as events: those of `edgebird listen`.

        for event in edgebird.listen(mic=True, bundle="birds"):
            if event["event"] == "detection":
                print(event["time"], event["common_name"], event["score"])

    The station listens from now on, on a thread of its own, until all sources end, `duration` is over, or the iterator
    is stopped, closed, left or no longer used. It prints nothing and changes no signal handlers.

    source: a URL or a file, several, or name -> address; or a whole StationSettings, beside which no setting is given.
    config: a station.toml with settings, which those given here come before.
    runtime: the name of an engine, or a runtime that is open already: it is for one listening at a time, stays open,
    and `bundle` and `precision` have to say what runs in it.
    sinks: of classes that inherit `edgebird.sinks.Sink`; they take all events too, on the thread of all sinks.
    queue_size: how many events may wait to be taken. When as many wait, files are read no further; with any source that
    is live the next events are lost, and told as an event `sink` that says how many.
    settings: as on the command line, `min_windows=2` for `--min-windows 2`: `bundle`, `mic`, `url`, `file`, `stdin`,
    `hop`, `threshold`, `clips`, `database` ...; docs/station.md has all of them. `mic=True` is the default microphone;
    `mic`, `url` and `file` also take several, or name -> address. `bundle` may be an open one.

    Raises, here, UsageError for settings that are wrong, and what opening bundle, engine, sources and sinks raises:
    EdgebirdError, or OSError for a file. The iterator raises RuntimeUnavailableError if the engine is lost for good,
    and AudioError when all has ended if a file could not be read to its end.
    """
    opened = None if isinstance(runtime, str) else runtime
    if not isinstance(source, StationSettings):
        if isinstance(bundle := settings.get("bundle"), Bundle):
            settings["bundle"] = bundle.path
        source = keyword_settings(source, config, {**settings, "runtime": None if opened else runtime})
    elif config is not None or settings or isinstance(runtime, str):
        raise UsageError("StationSettings are whole: give no other settings beside them")
    if queue_size < 1:
        raise UsageError(f"queue_size {queue_size}: wanted 1 or more")
    for sink in sinks:
        if not isinstance(sink, Sink):
            raise UsageError(f"sinks: {type(sink).__name__} does not inherit edgebird.sinks.Sink")
    check_settings(source)
    return Listening(_Run(source, opened, sinks, queue_size))


class Listening:
    """An iterator of events, each a dict as `--format jsonl` prints it; made by `listen`.

    It is a context manager, too: at the end of `with` the station has ended. Without one it ends as soon as Python
    frees the iterator, such as after `break` where nothing else refers to it, and when the program ends.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run
        # It waits for nothing: garbage is collected on any thread, also one that the station needs to end.
        weakref.finalize(self, run.leave, 0.0).atexit = False
        run.start()

    def __iter__(self) -> Listening:
        return self

    def __next__(self) -> Event:
        try:
            event = self._run.events.get()
        except KeyboardInterrupt:  # in a notebook the iterator lives on in the traceback
            self._run.leave(0.0)
            raise
        if event is not None:
            return event
        self._run.raise_error()
        raise StopIteration

    def stop(self) -> None:
        """End in order, soon: what was heard is still scored and comes out of the iterator, the summaries last.

        Any thread may call it, and a signal handler.
        """
        self._run.stop()

    def close(self) -> None:
        """End in order, and wait for that; the iterator gives nothing more."""
        self._run.leave(_END_S)
        try:
            self._run.raise_error()
        except (EdgebirdError, OSError) as error:
            log.error("the station ended early: %s", error)

    def __enter__(self) -> Listening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Run:
    """A station on a thread of its own. It knows nothing of the iterator, which Python may free at any time."""

    def __init__(self, settings: StationSettings, runtime: Runtime | None, sinks: Sequence[Sink], size: int) -> None:
        self._settings, self._runtime, self._sinks = settings, runtime, sinks
        waiting = all(one.kind == "file" and not one.realtime for one in settings.sources)
        self.events = EventQueue(size, waiting)
        self._station: Station | None = None
        self._stopping = False
        self._error: BaseException | None = None
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="edgebird listen", daemon=True)

    def start(self) -> None:
        """Return when the station listens; raises what opening it raised."""
        atexit.register(self.leave, _END_S)
        self._thread.start()
        try:
            self._is_open.wait()
        except KeyboardInterrupt:
            self.leave(0.0)
            raise
        if self._station is None:
            self.raise_error()

    def stop(self) -> None:
        """End in order, soon."""
        self._stopping = True
        if self._station:
            self._station.stop()

    def leave(self, patience_s: float) -> None:
        """Stop, as nobody takes events any more; wait for the end, 0 for not at all."""
        self.events.abandon()
        self.stop()
        if patience_s != 0 and self._thread is not threading.current_thread():
            self._thread.join(patience_s)

    def raise_error(self) -> None:
        """Raise what ended it, if that was an error, the first time it is called."""
        error, self._error = self._error, None
        if error:
            try:
                raise error
            finally:
                del error  # it refers to this frame

    def _listen(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                station = self._station = self._opened(stack)
                if self._stopping:
                    station.stop()
                self._is_open.set()
                station.run()
            if station.failures:
                raise AudioError("; ".join(station.failures))
        except BaseException as error:  # noqa: BLE001
            self._error = error  # for the thread that takes events
        finally:
            self._is_open.set()
            self.events.finish()
            atexit.unregister(self.leave)

    def _opened(self, stack: contextlib.ExitStack) -> Station:
        """All of it is opened in this thread: a database wants to be used where it was opened."""
        settings = self._settings
        bundle = open_listening_bundle(settings.detection.bundle)
        verbose = logging.getLogger("edgebird").isEnabledFor(logging.DEBUG)
        listeners = [open_listener(source, settings, bundle.card, verbose) for source in settings.sources]
        if self._runtime is None:
            engine = open_engine(settings, bundle, log.info)
            stack.callback(engine.close)
        else:
            _require_model(self._runtime, bundle)
            engine = Engine(self._runtime)
            prove_at_start(engine, self._runtime, settings, bundle)
        broadcast = make_broadcast(settings)
        sinks = make_sinks(settings, bundle, engine.name, [self.events, *self._sinks], broadcast)
        telling = _Telling([sinks, remote_sinks(settings, bundle, engine.name, engine.proof)], self.events)
        telling.open()

        def tick() -> None:
            if broadcast:
                broadcast.show(station)

        station = Station(engine, telling, station_options(settings), tick)
        for listener in listeners:
            station.add(listener)
        return station


class _Telling(SinkGroups):
    """The sinks of a station; files also wait for the program that takes events."""

    def __init__(self, groups: Sequence[Sequence[Sink]], events: EventQueue) -> None:
        super().__init__(groups)
        self._events = events

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether the events of files may come; if not, wake is called when they may."""
        return self._events.has_room(wake) and super().has_room(wake)


def _require_model(runtime: Runtime, bundle: Bundle) -> None:
    """Raise UsageError for a runtime that was opened with another model."""
    ours, theirs = ((card.labels, card.sample_rate, card.window_samples) for card in (bundle.card, runtime.card))
    if ours != theirs:
        raise UsageError(f"the runtime {runtime.name} runs another model than {bundle.path} has: open it with that")
