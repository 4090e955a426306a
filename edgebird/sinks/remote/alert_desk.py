"""Decides what is to be told, remembers it, and sends it: one pass of `work` after the other, on one thread."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from edgebird.errors import EdgebirdError, OutputError
from edgebird.events import Event
from edgebird.settings.telling import AlertSettings
from edgebird.sinks.firsts import First, first_of
from edgebird.sinks.remote.alert_memory import AlertMemory, Notice, told_last
from edgebird.sinks.remote.occasions import is_quiet, message, occasion
from edgebird.sinks.remote.outage import Outage

log = logging.getLogger(__name__)

CLIP_S = 40.0  # for the clip of a detection to be cut; it is sent without one then
PAUSES_S = (30.0, 120.0, 600.0)  # after an address has failed once, twice, more often
OLDEST_S = 3 * 86_400.0  # what nobody has taken for so long is given up
MOST_WAITING = 500  # the oldest of more are given up, too
GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent: attachments are files that exist."""

    title: str
    text: str
    attachments: tuple[Path, ...] = ()


# Sends to one address of an alert; raises EdgebirdError where that does not take it.
Send = Callable[[str, int, Parcel], None]


@dataclass(slots=True)
class _Address:
    """failures: in a row. again: when it is tried again, by the clock of pauses."""

    failures: int = 0
    again: float | None = None


@dataclass(slots=True)
class Clocks:
    """wall: in the station's time zone, which may be set by days at any moment. steady: seconds, which nobody sets."""

    wall: Callable[[], datetime]
    steady: Callable[[], float] = time.monotonic


class _Ages:
    """How old what waits is, whatever becomes of the wall clock meanwhile: a computer without a battery for its clock
    may set it by weeks once there is a network, and that makes no alert old.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._born: dict[object, float] = {}  # by the steady clock

    def begin(self, waiting: Sequence[Notice]) -> None:
        """Take note of what an earlier run has left: of that only the wall clock says how old it is."""
        now, wall = self._clocks.steady(), self._clocks.wall()
        for notice in waiting:
            passed = (wall - datetime.fromisoformat(notice.made)).total_seconds()
            self._born[_key(notice)] = now - max(0.0, passed)

    def note(self, waiting: Sequence[Notice]) -> None:
        """Take note of what waits now: what was not seen before has just come."""
        now = self._clocks.steady()
        self._born = {_key(notice): self._born.get(_key(notice), now) for notice in waiting}

    def of(self, notice: Notice) -> float:
        """Seconds."""
        now = self._clocks.steady()
        return now - self._born.get(_key(notice), now)


def _key(notice: Notice) -> object:
    return notice.number, notice.alert, notice.target, notice.made, notice.title


class AlertDesk:
    """alerts: by name. send: to an address. outage: is told what fails. database: of the station."""

    def __init__(
        self, alerts: Sequence[AlertSettings], database: Path, send: Send, outage: Outage, clocks: Clocks
    ) -> None:
        self._alerts: Mapping[str, AlertSettings] = {alert.name: alert for alert in alerts}
        self._memory, self._send, self._outage = AlertMemory(database, clocks.wall()), send, outage
        self._clocks, self._ages, self._has_begun = clocks, _Ages(clocks), False
        self._addresses: dict[tuple[str, int], _Address] = {}
        self._unwritten: list[Notice] = []  # of troubles, while the database cannot be used

    def work(self) -> None:
        """Look at what is new, and send what is due. What fails is told by the outage, and tried at the next pass."""
        failures = []
        try:
            if not self._has_begun:
                self._ages.begin(self._memory.waiting())
                self._has_begun = True
            while self._memory.look(self._decided):
                pass
            if self._unwritten:
                self._memory.add(self._unwritten)
                self._unwritten = []
            waiting = self._memory.waiting()
        except OutputError as error:
            failures.append(str(error))
            waiting, self._unwritten = self._unwritten, []
        self._ages.note(waiting)
        failures += self._send_all(waiting)
        if failures:
            self._outage.fail(failures[0])
        elif not any(one.failures for one in self._addresses.values()):
            self._outage.end()

    def trouble(self, alert: AlertSettings, title: str, text: str) -> None:
        """Have something told that is about no bird."""
        made = self._now()
        self._unwritten += [Notice(0, alert.name, target, made, title, text) for target in range(len(alert.to))]
        del self._unwritten[:-MOST_WAITING]

    def close(self) -> None:
        """Close the database. What waits is sent after the next start."""
        self._memory.close()

    def _now(self) -> str:
        return self._clocks.wall().isoformat(timespec="milliseconds")

    def _decided(self, connection: sqlite3.Connection, event: Event) -> list[Notice]:
        """What is told of a detection that is stored."""
        made, found = self._now(), []
        for alert in self._alerts.values():
            reason = occasion(alert, event, _first(connection, alert, event))
            if not reason or self._cools(connection, alert, event):
                continue
            about = {"detection": event["id"], "code": event["code"], "time": event["time"]}
            title, text = message(alert, event, reason)
            found += [Notice(0, alert.name, target, made, title, text, **about) for target in range(len(alert.to))]
        return found

    @staticmethod
    def _cools(connection: sqlite3.Connection, alert: AlertSettings, event: Event) -> bool:
        if not alert.cooldown_h or event["time"] is None:
            return False
        before = told_last(connection, alert.name, event["code"])
        if before is None:
            return False
        passed = datetime.fromisoformat(event["time"]) - datetime.fromisoformat(before)
        return timedelta(0) <= passed < timedelta(hours=alert.cooldown_h)

    # --------------------------------------------------------------------------------------------------------- sending
    def _send_all(self, waiting: Sequence[Notice]) -> list[str]:
        """Send what is due; how addresses failed."""
        failures = []
        for place, notice in enumerate(waiting):
            alert = self._alerts.get(notice.alert)
            if alert is None or notice.target >= len(alert.to):
                self._settle(notice, GIVEN_UP)  # an alert that is no more
            elif len(waiting) - place > MOST_WAITING or self._ages.of(notice) > OLDEST_S:
                self._settle(notice, GIVEN_UP)
                self._outage.lose()
            elif self._is_due(alert, notice):
                failures += self._sent(alert, notice)
            else:
                self._settle(notice, None)
        return failures

    def _is_due(self, alert: AlertSettings, notice: Notice) -> bool:
        address = self._addresses.get((notice.alert, notice.target))
        if address and address.again is not None and self._clocks.steady() < address.again:
            return False
        if is_quiet(alert, self._clocks.wall()):
            return False
        wants_clip = bool(alert.attach) and notice.detection is not None and notice.clip is None
        return not wants_clip or self._ages.of(notice) >= CLIP_S

    def _sent(self, alert: AlertSettings, notice: Notice) -> list[str]:
        """Send one; how that failed."""
        address = self._addresses.setdefault((notice.alert, notice.target), _Address())
        try:
            self._deliver(notice, Parcel(notice.title, notice.text, _attachments(alert, notice)))
        except EdgebirdError as error:
            pause = PAUSES_S[min(address.failures, len(PAUSES_S) - 1)]
            address.failures += 1
            address.again = self._clocks.steady() + pause
            self._settle(notice, None)
            return [str(error)]
        address.failures, address.again = 0, None
        self._settle(notice, self._now())
        return []

    def _deliver(self, notice: Notice, parcel: Parcel) -> None:
        """Send one, without its files where these are not taken: they are too large, or the server allows none."""
        try:
            self._send(notice.alert, notice.target, parcel)
        except EdgebirdError:
            if not parcel.attachments:
                raise
            self._send(notice.alert, notice.target, replace(parcel, attachments=()))

    def _settle(self, notice: Notice, sent: str | None) -> None:
        """Note what became of one; None if it still waits."""
        if notice.number and sent is not None:
            try:
                self._memory.mark(notice.number, sent)
            except OutputError as error:
                log.warning("an alert may be told twice: %s", error)
        elif not notice.number and sent is None:
            self._unwritten.append(notice)


def _first(connection: sqlite3.Connection, alert: AlertSettings, event: Event) -> First | None:
    """What a detection is the first of, of those that an alert is about.

    What the alert has told before counts where the database has its detection no longer.
    """
    if event["score"] < alert.above:
        return None
    first = first_of(connection, event, alert.above)
    told = told_last(connection, alert.name, event["code"]) if first else None
    if first and told and (first.before or "") < told < first.time[:10]:
        return replace(first, before=told)
    return first


def _attachments(alert: AlertSettings, notice: Notice) -> tuple[Path, ...]:
    """The files that are asked for and are there."""
    if notice.clip is None:
        return ()
    clip = Path(notice.clip)
    files = {"clip": clip, "spectrogram": clip.with_suffix(".png")}
    return tuple(files[kind] for kind in files if kind in alert.attach and files[kind].is_file())
