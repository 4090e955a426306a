"""One source of a station: its pieces become windows, their scores become events, and every sample is accounted for."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np

from edgebird.capture.wire import DROPPED
from edgebird.card import Card
from edgebird.conditioning import Conditioner
from edgebird.detection import Analysis, Result, Settings, reported
from edgebird.events import Event, Events, head, moment_of, seconds
from edgebird.live.bridges import Bridged, Bridges
from edgebird.live.feed import Change, Feed
from edgebird.live.figures import SourceStatus
from edgebird.live.history import History
from edgebird.live.hush import ListenOptions
from edgebird.live.levels import VERDICTS, LevelWatch
from edgebird.live.ring import OVERRUN, Heard, Lost, Piece
from edgebird.live.unscored import Unscored
from edgebird.pooling import Onset
from edgebird.reading.spoiled import NOT_FINITE
from edgebird.types import AudioBlock, Detection, FloatArray, Gap, Origin, Rejected, Summary, Window
from edgebird.voices import VoiceWatch

log = logging.getLogger(__name__)

_NOTHING = np.empty(0, np.float32)
_NOTE_S = 60.0  # between two notes in the log
_BRIDGES_S = 60.0  # of short losses are told together
_LONGEST_GAP_S = 600.0  # a longer one is told in pieces, so that a power cut does not take all of it


@dataclass(frozen=True, slots=True, eq=False)
class Due:
    """A window to score. heard_at: monotonic seconds of its last sample."""

    listener: Listener
    window: Window
    heard_at: float


class Listener:
    """Takes pieces from a feed and gives windows that are due; takes their scores and gives events."""

    def __init__(self, feed: Feed, card: Card, settings: Settings, options: ListenOptions, origin: Origin) -> None:
        self.feed = feed
        self._options, self._settings = options, settings
        self._card, self._rate = card, card.sample_rate
        self._voices = VoiceWatch(options.voices, card.sample_rate) if options.voices else None
        self._analysis = Analysis(card, settings, self._heard_at, self._voices)
        self._events = Events.of(card)
        self._origin = origin
        self._dated = origin.started is not None  # a recording that says when it was made
        self._remembers = options.history_s > 0
        capacity = max(1, round(options.history_s * self._rate))
        self.memory = History(origin, self._rate, capacity)
        self._conditioner = Conditioner(options.sound, self._rate) if options.sound else None
        self._pending: deque[Due] = deque()
        self._out: list[Event] = []
        self._state, self._detail = "starting" if feed.live else "open", ""
        self._watch = LevelWatch(self._rate)
        self._gap: Lost | None = None
        self._bridges = Bridges(round(_BRIDGES_S * self._rate))
        self._position = 0
        self._next_note = 0.0
        self._last = (0, time.monotonic())  # position after what was heard last, and when that was
        self._told = 0  # detections
        self._unscored = Unscored(round(_LONGEST_GAP_S * self._rate))
        self._unheard = 0  # samples that were given up before they were in a window
        self._ended = False
        self.overrun = 0  # samples lost because the engine was late
        self.untold: deque[Event] = deque()  # events that wait for room where they go

    @property
    def name(self) -> str:
        """As events call it."""
        return self.feed.name

    @property
    def done(self) -> bool:
        """Whether all is heard and scored."""
        return self._ended and not self._pending

    def next(self) -> Due | None:
        """The oldest window that is due, None if there is none; reads no more of the feed than that takes."""
        while not self._pending and not self._ended:
            if (piece := self.feed.read()) is not None:
                self._accept(piece)
            elif self.feed.finished:
                self._ended = self.memory.ended = True
                self._pend(self._analysis.finish())
            else:
                self.feed.expect(self._position + self._analysis.missing)
                return None
        return self._pending.popleft() if self._pending else None

    def abandon(self, reason: str, untaken: Sequence[Due] = ()) -> None:
        """End without scoring what waits: all of it is a gap, and so are windows that were due and not taken."""
        self.feed.stop()
        account, heard = self._analysis.summary(), self._position
        waiting = [due for due in (*untaken, *self._pending) if due.listener is self]
        self._pending.clear()
        for due in waiting:
            self.give_up(due, reason)
        self._close_unscored()
        self._close_gap()
        while (piece := self.feed.read()) is not None:
            self._position = piece.end
        # What is in no window yet, and what was never read, follow one another.
        uncut = heard - account.scored - account.gap - account.tail
        self._unheard = uncut + self._position - heard
        if self._unheard:
            self._tell_gap(Lost(heard - uncut, self._position, reason))
        self._bridges.forget()
        self._ended = self.memory.ended = True

    def put_back(self, due: Due) -> None:
        """Take a window back that was due and is not scored yet; of several the last first."""
        self._pending.appendleft(due)

    def give_up(self, due: Due, reason: str) -> None:
        """Take note that a window that was due is not scored: what it has and no window before it is a gap."""
        for result in self._analysis.give_up(due.window, reason):
            if isinstance(result, Gap):
                self._bridges.give_up(result.end)
                for gap in self._unscored.add(result):
                    self._tell_gap(gap)
            else:
                self._tell([result], None)
        self._end_songs(None)

    def take(self, due: Due, scores: FloatArray, now: float) -> None:
        """Take the scores [classes] of a window that was due."""
        latency = now - due.heard_at if self.feed.live else None
        self._close_unscored()
        self._bridges.score(due.window.end)
        self._tell_bridges(self._bridges.due(self._position))
        self._tell(self._analysis.take(due.window, scores), latency)
        self._end_songs(latency)

    def events(self) -> list[Event]:
        """Take the events since the last call."""
        for change in self.feed.changes():
            self._changed(change)
        events, self._out = self._out, []
        return events

    def close(self) -> list[Event]:
        """The last events; the summary comes from `summary`."""
        self._tell(self._analysis.close(), None)
        self._close_unscored()
        self._close_gap()
        self._bridges.finish()
        self._tell_bridges(self._bridges.due())
        return self.events()

    def summary(self) -> Event:
        """The account: scored + gap + tail = the audio of the source."""
        event = self._events.tell(self._origin, self._account())
        if self.feed.live:
            event["audio_s"] = seconds(self._position, self._rate)
            event["drift_ppm"] = None if self.feed.drift_ppm is None else round(self.feed.drift_ppm, 1)
        return event

    def change(self, settings: Settings, options: ListenOptions) -> None:
        """Judge by other settings from the next window on; hop and history stay."""
        self._settings = replace(settings, hop=self._settings.hop)
        self._options = options
        self._analysis.change(self._settings)

    def status(self) -> SourceStatus:
        """How it is now."""
        level, account = None if self._state == "lost" else self._watch.level, self._account()
        return SourceStatus(
            name=self.name,
            state=self._state,
            detail=self._detail,
            level_dbfs=level.rms_dbfs if level else None,
            peak_dbfs=level.peak_dbfs if level else None,
            audio_s=self._position / self._rate,
            scored_s=account.scored / self._rate,
            gap_s=account.gap / self._rate,
            waiting_s=self.feed.waiting / self._rate,
            drift_ppm=self.feed.drift_ppm,
        )

    # ----------------------------------------------------------------------------------------------------------- inside
    def _account(self) -> Summary:
        account = self._analysis.summary()
        return replace(
            account,
            scored=account.scored - self._bridges.scored,
            gap=account.gap + self._unheard + self._bridges.scored + self._bridges.left,
            tail=account.tail - self._bridges.left,
            detections=self._told,
        )

    def _accept(self, piece: Piece) -> None:
        self._position = piece.end
        if isinstance(piece, Lost):
            self._lose(piece)
            return
        self._close_gap()
        self._last = piece.end, piece.at
        if self.feed.live and not self._dated:
            self._origin = self.memory.origin = replace(self._origin, started=self._started(piece))
        block, sound = piece.block, self._options.sound
        if self._voices:
            self._voices.push(block)
        scored = self._conditioner.apply(block) if self._conditioner else block
        if self._remembers:
            self.memory.push(scored if sound and sound.in_clips else block)
        if piece.bridged:
            self._bridges.add(piece.block.start, piece.end)
        elif self.feed.live:
            self._listen_to_level(piece)
        self._pend(self._analysis.push(scored))

    def _started(self, heard: Heard) -> datetime:
        """When the first sample would have been heard if the sound card kept time: right for what is heard now."""
        return self._wall(heard.at - heard.end / self._rate)

    def _wall(self, at: float) -> datetime:
        """Monotonic seconds as time of day; counted in UTC, where no hour is missing or comes twice."""
        moment = datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - at)
        return moment.astimezone(self._options.timezone)

    def _pend(self, windows: list[Window]) -> None:
        end, at = self._last
        for window in windows:
            self._bridges.cut(window.end)
            self._pending.append(Due(self, window, at - (end - window.end) / self._rate))

    def _listen_to_level(self, heard: Heard) -> None:
        """Say when the source becomes silent, clipping or quiet, and when that is over; not when it is over itself."""
        self._watch.add(heard.block.samples)
        if self._state in ("lost", "closed"):  # what is read now was heard before
            return
        verdict, level = self._watch.verdict, self._watch.level
        if verdict and verdict != self._state and level:
            detail = f"rms {level.rms_dbfs:.0f} dBFS, peak {level.peak_dbfs:.0f} dBFS"
            self._changed(Change(verdict, detail, heard.at, heard.end))
        elif not verdict and self._state in VERDICTS:
            self._changed(Change("recovered", f"no longer {self._state}", heard.at, heard.end))

    def _lose(self, lost: Lost) -> None:
        if self._gap and self._gap.reason != lost.reason:
            self._close_gap()
        self._gap = Lost(self._gap.start if self._gap else lost.start, lost.end, lost.reason)
        self.overrun += lost.end - lost.start if lost.reason == OVERRUN else 0
        if self.feed.live and lost.reason == NOT_FINITE:
            self._note_spoiled()
        if self._remembers:
            self.memory.skip(lost.end)
        self._watch = self._watch.renewed()
        self._pend(self._analysis.push(AudioBlock(_NOTHING, lost.end)))
        self._bridges.lose()
        if self._gap.end - self._gap.start >= _LONGEST_GAP_S * self._rate:
            self._close_gap()
        if not self._pending:
            self._tell(self._analysis.skip(lost.end), None)

    def _note_spoiled(self) -> None:
        """Log it now and then: the source stays open, and a gap is told when it is over."""
        if time.monotonic() >= self._next_note:
            self._next_note = time.monotonic() + _NOTE_S
            log.warning("%s: samples that are no sound (NaN, infinite or beyond all reason) are left out", self.name)

    def _close_gap(self) -> None:
        if gap := self._gap:
            self._gap = None
            self._close_unscored()
            self._tell_gap(gap)

    def _tell_bridges(self, bridged: Bridged | None) -> None:
        """One event for all: from the first on, as long as all together."""
        if bridged:
            self._tell_gap(Lost(bridged.start, bridged.start + bridged.lost, DROPPED))
            self._out[-1] |= {"bridged": True, "losses": bridged.losses}

    def _close_unscored(self) -> None:
        for gap in self._unscored.end():
            self._tell_gap(gap)

    def _end_songs(self, latency_s: float | None) -> None:
        """Tell what is over as audio was lost, when all windows before that are taken."""
        if self._gap and not self._pending:
            self._tell(self._analysis.skip(self._position), latency_s)

    def _tell_gap(self, gap: Lost | Gap) -> None:
        event = head("gap", self._origin, gap.start, self._rate)
        span = {"start_s": seconds(gap.start, self._rate), "end_s": seconds(gap.end, self._rate)}
        self._out.append({**event, **span, "reason": gap.reason})

    def _changed(self, change: Change) -> None:
        if change.state in ("lost", "closed"):
            self._watch = LevelWatch(self._rate)  # what comes next may be another microphone
        self._state = "open" if change.state == "recovered" else change.state
        self._detail = change.detail
        moment = self._wall(change.at)
        self._out.append(
            {
                "event": "source",
                "source": self.name,
                "time": moment.isoformat(timespec="milliseconds"),
                "state": change.state,
                "at_s": seconds(change.position, self._rate),
                "detail": change.detail,
            }
        )

    def _tell(self, results: list[Result], latency_s: float | None) -> None:
        for result in map(self._hushed, results):
            if result and (told := reported(result, self._options.explain, self.feed.live)):
                event = self._events.tell(self._origin, told)
                self._told += event["event"] == "detection"
                if latency_s is not None:
                    event["latency_s"] = round(latency_s, 3)
                self._out.append(event)

    def _hushed(self, result: Result) -> Result | None:
        """Where nothing is reported a detection is a rejected candidate, and an onset nothing."""
        if isinstance(result, Detection) and (reason := self._options.refusal(self._heard_at(result.start))):
            return Rejected(result, reason)
        if isinstance(result, Onset) and self._options.refusal(self._heard_at(result.candidate.start)):
            return None
        return result

    def _heard_at(self, position: int) -> datetime | None:
        return moment_of(self._origin, position, self._rate)
