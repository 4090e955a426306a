"""Groups of sinks: a disk that hangs does not keep the network from being told, and the other way round."""

from __future__ import annotations

import logging
import threading

import pytest

from edgebird.errors import OutputError, UsageError
from edgebird.events import Event
from edgebird.sinks import Memory, Sink
from edgebird.sinks.groups import SinkGroups
from tests.live_servers import wait_until
from tests.test_sink_thread import SOON_S, Kept, event


class Maker(Kept):
    """Makes a clip of each detection at the next tick, and one more when it is closed."""

    def __init__(self, name: str = "maker") -> None:
        super().__init__(name)
        self._due: list[Event] = []

    def take(self, event: Event, memory: Memory | None) -> None:
        super().take(event, memory)
        if event["event"] == "detection":
            self._due.append({"event": "clip", "source": "garden", "time": None, "start_s": event["start_s"]})

    def tick(self) -> list[Event]:
        due, self._due = self._due, []
        return due

    def close(self) -> list[Event]:
        super().close()
        return [{"event": "clip", "source": "garden", "time": None, "start_s": -1}]


class Failing(Sink):
    """Cannot write. wrong: what it raises when it is opened."""

    name = "failing"

    def __init__(self, wrong: Exception | None = None) -> None:
        self._wrong = wrong

    def open(self) -> None:
        if self._wrong:
            raise self._wrong

    def take(self, event: Event, memory: Memory | None) -> None:
        raise OutputError("no disk")


def test_a_sink_that_hangs_holds_up_its_own_group_alone() -> None:
    """With the disk of the database away, nobody would be told that the station is in trouble."""
    disk, network = Kept("disk", threading.Event()), Kept("network")
    groups = SinkGroups([[disk], [network]])
    groups.open()
    for number in range(3):
        groups.take(event(number=number), None)
    wait_until(lambda: len(network.events) == 3, "events in the other group", SOON_S)
    assert disk.events == []
    assert disk.gate
    disk.gate.set()
    groups.close()
    assert [one["start_s"] for one in disk.events] == [0, 1, 2]
    assert not groups.hangs


def test_what_a_group_makes_reaches_the_others_once_and_to_the_last() -> None:
    """The last clip is cut when its group is closed: who sends it has to hear of it."""
    maker, table, network = Maker(), Kept("table"), Kept("network")
    groups = SinkGroups([[table, maker], [network]])
    groups.open()
    groups.take(event(number=5), None)
    groups.tick()
    wait_until(lambda: bool(network.of("clip")), "a clip", SOON_S)
    groups.close()
    for sink in (table, network):
        assert [one["start_s"] for one in sink.of("clip")] == [5, -1]
    assert maker.of("clip") == []


def test_a_failure_in_one_group_is_told_to_the_other_and_on_stderr_when_that_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = Kept("table")
    groups = SinkGroups([[table], [Failing()]])
    groups.open()
    groups.take(event(), None)
    groups.tick()
    wait_until(lambda: bool(table.of("sink")), "a failure", SOON_S)
    with caplog.at_level(logging.WARNING, "edgebird"):
        groups.close()
    assert [one["error"] for one in table.of("sink")] == ["no disk"]
    assert "failing: closed, " in caplog.text


def test_where_one_group_is_refused_all_are_closed() -> None:
    table = Kept("table")
    groups = SinkGroups([[table], [Failing(UsageError("wrong"))]])
    with pytest.raises(UsageError, match="wrong"):
        groups.open()
    assert table.closed


def test_a_group_without_sinks_takes_no_thread() -> None:
    before = threading.active_count()
    groups = SinkGroups([[Kept()], []])
    groups.open()
    assert threading.active_count() == before + 1
    groups.close()
