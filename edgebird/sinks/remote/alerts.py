"""Alerts: a person is told of rare birds and of trouble, through Apprise; docs/station.md has the occasions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgebird.errors import EdgebirdError, OutputError, UsageError
from edgebird.events import Event
from edgebird.settings.telling import AlertSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.lines import now
from edgebird.sinks.remote.alert_desk import AlertDesk, Clocks, Parcel
from edgebird.sinks.remote.disks import Disks
from edgebird.sinks.remote.outage import Outage
from edgebird.sinks.remote.troubles import Troubles

if TYPE_CHECKING:
    from apprise import Apprise

_LOOK_S = 5.0  # between two passes; sooner when something has happened
_SETTLE_S = 0.2  # for the database to have what an event has just told
_END_S = 5.0


class AlertSink(Sink):
    """Sends alerts on a thread of its own, from what the station's database has.

    Events only wake it: birds are looked at where they are stored. What is wrong with sources, the engine and disks is
    told also while the database cannot be used. database: of the station. disks: those that it writes to.

    Raises EdgebirdError without the extra `alerts`, UsageError for an address that Apprise does not know and where
    there is no database.
    """

    name = "alerts"

    def __init__(
        self, alerts: Sequence[AlertSettings], database: Path | None, disks: Disks, clock: Callable[[], datetime] = now
    ) -> None:
        if database is None:
            raise UsageError("[[alert]] needs a database, which remembers what was told: give database = in [output]")
        self._alerts, self._disks = alerts, disks
        self._addresses = {(one.name, i): _address(one, i) for one in alerts for i in range(len(one.to))}
        self._outage = Outage(self.name)
        self._desk = AlertDesk(alerts, database, self._send, self._outage, Clocks(clock))
        self._troubles, self._lock = Troubles(), threading.Lock()
        self._wake, self._ending = threading.Event(), False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to look."""
        self._disks.start()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Take note of an event."""
        if event["event"] in ("source", "engine"):
            with self._lock:
                self._troubles.take(event)
        elif event["event"] in ("detection", "clip"):
            self._wake.set()

    def tick(self) -> list[Event]:
        """Tell what has failed, and what works again."""
        return self._outage.events()

    def close(self) -> list[Event]:
        """Look once more, and end. What cannot be sent now waits in the database; an address that hangs is left."""
        self._ending = True
        self._wake.set()
        if self._thread:
            self._thread.join(_END_S)
        self._disks.stop()
        self._outage.end("closed")
        return self._outage.events()

    def _run(self) -> None:
        while True:
            ending = self._ending
            try:
                self._pass()
            except Exception as error:  # noqa: BLE001  whatever it is, the next alert may be told
                self._outage.fail(f"alerts: {type(error).__name__}: {error}")
            if ending:
                self._desk.close()
                return
            if self._wake.wait(_LOOK_S):
                self._wake.clear()
                threading.Event().wait(_SETTLE_S)

    def _pass(self) -> None:
        disks = self._disks.now
        for alert in self._alerts:
            with self._lock:
                due = list(self._troubles.due(alert, disks))
            for title, text in due:
                self._desk.trouble(alert, title, text)
        self._desk.work()

    def _send(self, alert: str, target: int, parcel: Parcel) -> None:
        address, service = self._addresses[alert, target]
        if not address.notify(body=parcel.text or parcel.title, title=parcel.title, attach=_paths(parcel)):
            raise OutputError(f"alert {alert!r}: {service} does not take it")


def _paths(parcel: Parcel) -> list[str] | None:
    return [str(path) for path in parcel.attachments] or None


def _address(alert: AlertSettings, number: int) -> tuple[Apprise, str]:
    """An address, and what its service is called. No message shows the address, which may hold a password."""
    try:
        import apprise
    except ImportError:
        raise EdgebirdError("[[alert]] needs apprise: pip install 'edgebird[alerts]'") from None
    # It would print addresses that it does not know, and what a service answers.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    made = apprise.Apprise()
    if not made.add(alert.to[number]):
        place = f"address {number + 1} " if len(alert.to) > 1 else "the address "
        raise UsageError(f"alert {alert.name!r}: {place}is none that Apprise knows")
    return made, str(made[0].service_name)
