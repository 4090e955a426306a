"""One source of a station by itself: what is fed to it becomes events, and every sample of it is accounted for.

The feed is a script that is read at once: nothing waits. Whole stations: test_station.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from datetime import time as TimeOfDay
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from edgebird.detection import Settings
from edgebird.events import Event
from edgebird.live.feed import Change
from edgebird.live.listener import Listener, ListenOptions
from edgebird.live.ring import OVERRUN, Heard, Lost, Piece
from edgebird.types import AudioBlock, FloatArray, Origin
from tests.foreign import tone_card

RATE = 100  # so that a second is a window
CARD = replace(tone_card(RATE, "batch"), window_samples=RATE)
HOP = RATE // 2


class Script:
    """A feed of pieces that are there already."""

    name, failure, pid = "mic", None, None

    def __init__(self, *pieces: Piece, live: bool = True) -> None:
        self.live, self.pieces, self.ended = live, deque(pieces), True
        self.expected: list[int] = []
        self.told: list[Change] = []
        self.drift_ppm: float | None = None

    @property
    def waiting(self) -> int:
        return sum(len(piece.block.samples) for piece in self.pieces if isinstance(piece, Heard))

    @property
    def finished(self) -> bool:
        return self.ended and not self.pieces

    def start(self, wake: Callable[[], None]) -> None: ...

    def expect(self, position: int) -> None:
        self.expected.append(position)

    def read(self) -> Piece | None:
        return self.pieces.popleft() if self.pieces else None

    def changes(self) -> list[Change]:
        told, self.told = self.told, []
        return told

    def stop(self) -> None: ...


def heard(start_s: float, seconds: float, value: float = 0.5, at: float | None = None) -> Heard:
    """Sound of one magnitude; heard in time with its position unless told otherwise."""
    samples = np.tile([value, -value], round(seconds * RATE / 2)).astype(np.float32)
    block = AudioBlock(samples, round(start_s * RATE))
    return Heard(block, block.end / RATE if at is None else at)


def lost(start_s: float, end_s: float, reason: str = "stalled") -> Lost:
    return Lost(round(start_s * RATE), round(end_s * RATE), reason)


def scores(samples: FloatArray) -> FloatArray:
    """The first label is as loud as the window."""
    return np.array([np.abs(samples).mean(), 0, 0], np.float32)


def listener(feed: Script, options: ListenOptions | None = None, **settings: Any) -> Listener:
    chosen = Settings(HOP, **({"threshold": 0.3} | settings))
    return Listener(feed, CARD, chosen, options or ListenOptions(), Origin("mic"))


def run(listening: Listener) -> list[Event]:
    """All its events to the end, the summary last."""
    events: list[Event] = []
    while (due := listening.next()) is not None:
        listening.take(due, scores(due.window.samples), now=due.heard_at + 0.25)
        events += listening.events()
    events += listening.close()
    return [*events, listening.summary()]


def of(kind: str, events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def balanced(events: list[Event]) -> Event:
    """The summary, whose account must come out, and be that of the gaps that were told."""
    (summary,) = of("summary", events)
    whole = summary["scored_s"] + summary["gap_s"] + summary["tail_s"]
    assert whole == pytest.approx(summary["audio_s"])
    assert sum(gap["end_s"] - gap["start_s"] for gap in of("gap", events)) == pytest.approx(summary["gap_s"])
    return summary


# ------------------------------------------------------------------------------------------------------------- windows
def test_a_window_is_due_as_soon_as_it_is_heard_and_no_more_is_read_than_that() -> None:
    """A file would else be read into memory as a whole."""
    feed = Script(*[heard(second, 1.0) for second in range(100)])
    listening = listener(feed)
    due = listening.next()
    assert due is not None
    assert (due.window.start, due.window.end, due.heard_at) == (0, RATE, pytest.approx(1.0))
    assert len(feed.pieces) == 99


def test_the_feed_wakes_nobody_before_the_next_window_is_there() -> None:
    """Waking up is what listening costs on a small computer."""
    feed = Script(heard(0, 1.2))
    feed.ended = False
    listening = listener(feed)
    assert listening.next() is not None
    assert listening.next() is None
    assert feed.expected == [RATE + HOP]
    assert not listening.done


def test_windows_are_as_late_as_they_were_heard_and_not_as_their_block_ended() -> None:
    """A block of half a second has windows in its middle: else latencies would look better than they are."""
    listening = listener(Script(heard(0, 1.6)))
    moments = []
    while (due := listening.next()) is not None:
        moments.append(due.heard_at)
    assert moments == pytest.approx([1.0, 1.5])
    assert listening.done


# -------------------------------------------------------------------------------------------------------------- events
def test_a_bird_is_told_when_it_is_heard_and_when_it_is_over() -> None:
    events = run(listener(Script(heard(0, 2), heard(2, 3, 0.0))))
    (onset,) = of("onset", events)
    (detection,) = of("detection", events)
    assert (onset["start_s"], onset["code"], onset["latency_s"]) == (0.0, "tonlow", 0.25)
    assert (detection["start_s"], detection["end_s"]) == (0.0, 2.0)
    assert balanced(events)["detections"] == 1


def test_of_a_file_detections_are_told_and_no_onset_nor_latency() -> None:
    """Nobody waits for the sound of a file."""
    events = run(listener(Script(heard(0, 2), heard(2, 3, 0.0), live=False)))
    (detection,) = of("detection", events)
    assert "latency_s" not in detection
    assert of("onset", events) == of("source", events) == []
    assert "audio_s" not in events[-1]


@pytest.mark.parametrize("explain", [False, True])
def test_rejected_candidates_are_told_to_who_asked_for_them(explain: bool) -> None:
    feed = Script(heard(0, 1), heard(1, 3, 0.0))
    events = run(listener(feed, ListenOptions(explain=explain), threshold=0.45, min_windows=2))
    assert [event["reason"] for event in of("rejected", events)] == ["below_min_windows"] * explain
    assert of("detection", events) == []
    assert balanced(events)["detections"] == 0


@pytest.mark.parametrize(
    ("hours", "quiet"),
    [
        (((TimeOfDay(22), TimeOfDay(4)),), True),
        (((TimeOfDay(4), TimeOfDay(22)),), False),
        (((TimeOfDay(1), TimeOfDay(2)), (TimeOfDay(3), TimeOfDay(3, 1))), True),
        (((TimeOfDay(2), TimeOfDay(3)),), False),
        ((), False),
    ],
    ids=["across midnight", "the day", "a second span", "its end is not of it", "none"],
)
def test_in_quiet_hours_nothing_is_reported(hours: tuple[tuple[TimeOfDay, TimeOfDay], ...], quiet: bool) -> None:
    """Nobody wants to be woken; what was heard is still a rejected candidate."""
    started = datetime(2026, 1, 1, 3, 0, tzinfo=timezone(timedelta(hours=1)))
    feed, options = Script(heard(0, 2), heard(2, 2, 0.0)), ListenOptions(quiet_hours=hours, explain=True)
    listening = Listener(feed, CARD, Settings(HOP, threshold=0.3), options, Origin("mic", None, started))
    events = run(listening)
    assert [event["reason"] for event in of("rejected", events)] == ["quiet_hours"] * quiet
    assert len(of("onset", events)) == len(of("detection", events)) == (not quiet)
    assert balanced(events)["detections"] == (not quiet)


def test_the_time_of_a_bird_is_that_of_the_clock_when_it_was_heard() -> None:
    """Of a microphone nobody knows when it was started: the clock of its card may be off by seconds after weeks."""
    now = time.monotonic()
    before = datetime.now(timezone.utc)
    listening = listener(Script(heard(0, 2, at=now - 10), heard(2, 2, 0.0, at=now - 8)))
    (onset,) = of("onset", run(listening))
    assert abs(datetime.fromisoformat(onset["time"]) - (before - timedelta(seconds=12))) < timedelta(seconds=2)


def test_a_recording_that_says_when_it_was_made_keeps_its_date() -> None:
    started = datetime(2020, 5, 1, 4, 0, tzinfo=timezone.utc)
    feed = Script(heard(0, 2))
    listening = Listener(feed, CARD, Settings(HOP, threshold=0.3), ListenOptions(), Origin("x", None, started))
    (onset,) = of("onset", run(listening))
    assert onset["time"] == "2020-05-01T04:00:00.000+00:00"


# -------------------------------------------------------------------------------------------------------------- losses
def test_a_gap_is_told_once_however_many_pieces_it_comes_in() -> None:
    """A stream that is away for an hour is lost second by second."""
    pieces = [lost(second, second + 1) for second in range(2, 7)]
    events = run(listener(Script(heard(0, 2), *pieces, heard(7, 2))))
    (gap,) = of("gap", events)
    assert (gap["start_s"], gap["end_s"], gap["reason"]) == (2.0, 7.0, "stalled")
    assert balanced(events)["gap_s"] == 5.0


def test_losses_of_two_causes_are_two_gaps() -> None:
    listening = listener(Script(heard(0, 2), lost(2, 3), lost(3, 5, OVERRUN), heard(5, 2)))
    events = run(listening)
    assert [(gap["start_s"], gap["end_s"], gap["reason"]) for gap in of("gap", events)] == [
        (2.0, 3.0, "stalled"),
        (3.0, 5.0, "overrun"),
    ]
    assert listening.overrun == 2 * RATE  # of all losses the engine is to blame for these alone
    balanced(events)


def test_a_gap_of_hours_is_told_in_pieces_as_it_goes_on() -> None:
    """A power cut must not take the whole of it."""
    feed = Script(heard(0, 2), *[lost(2 + 300 * n, 302 + 300 * n) for n in range(5)])
    events = run(listener(feed))
    assert [gap["end_s"] - gap["start_s"] for gap in of("gap", events)] == [600.0, 600.0, 300.0]
    balanced(events)


def test_a_song_ends_where_its_sound_is_lost() -> None:
    """It is told then, and not when the source comes back, perhaps tomorrow."""
    feed = Script(heard(0, 2), lost(2, 3))
    feed.ended = False
    listening, events = listener(feed), []
    while (due := listening.next()) is not None:
        listening.take(due, scores(due.window.samples), due.heard_at)
        events += listening.events()
    events += listening.events()
    assert [(event["start_s"], event["end_s"]) for event in of("detection", events)] == [(0.0, 2.0)]


# ---------------------------------------------------------------------------------------------------------- how it ends
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_station_that_ends_early_accounts_for_what_was_heard_and_not_scored(taken: int) -> None:
    """Windows that wait, windows that were taken out and never scored, and what was not even read."""
    feed = Script(heard(0, 2.3), heard(2.3, 0.1), lost(2.4, 4), heard(4, 3.2))
    listening = listener(feed)
    events = []
    for _ in range(taken):
        due = listening.next()
        assert due is not None
        listening.take(due, scores(due.window.samples), due.heard_at)
        events += listening.events()
    untaken = listening.next()
    assert untaken is not None
    listening.abandon("shutdown", [untaken])
    assert listening.done
    assert listening.next() is None
    events += [*listening.close(), listening.summary()]
    summary = balanced(events)
    assert summary["audio_s"] == 7.2
    assert summary["windows"] == taken
    spans = [(gap["start_s"], gap["end_s"]) for gap in of("gap", events)]
    assert spans == sorted(spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans)), "a gap is told twice"


@pytest.mark.parametrize("given_up", [(0,), (1,), (2,), (1, 2), (3, 4), (0, 1, 2, 3, 4)])
def test_windows_that_are_given_up_are_gaps_and_the_account_comes_out(given_up: tuple[int, ...]) -> None:
    """Also where silence in them stands for a short loss, which is told otherwise, and before lost audio."""
    silence = replace(heard(1.3, 0.3, value=0.0), bridged=True)
    listening = listener(Script(heard(0, 1.3), silence, heard(1.6, 0.9), lost(2.5, 3), heard(3, 1)))
    events, number = [], 0
    while (due := listening.next()) is not None:
        if number in given_up:
            listening.give_up(due, "engine")
        else:
            listening.take(due, scores(due.window.samples), due.heard_at)
        number += 1
        events += listening.events()
    events += [*listening.close(), listening.summary()]
    assert number == 5
    balanced(events)
    engine = [(gap["start_s"], gap["end_s"]) for gap in of("gap", events) if gap["reason"] == "engine"]
    assert len(engine) == {(3, 4): 2, (0, 1, 2, 3, 4): 2}.get(given_up, 1)


@pytest.mark.parametrize("given_up", [(), (1,), (2,), (1, 2)])
def test_silence_for_a_short_loss_in_a_tail_before_a_gap_is_lost_and_not_scored(given_up: tuple[int, ...]) -> None:
    """No window has it, whatever becomes of those before and after; they may still wait when the gap comes."""
    silence = replace(heard(1.44, 0.12, value=0.0), bridged=True)
    listening = listener(Script(heard(0, 1.44), silence, heard(1.56, 0.04), lost(1.6, 3), heard(3, 1)))
    events, dues = [], []
    while (due := listening.next()) is not None:
        dues.append(due)
    for number, due in enumerate(dues):
        if number in given_up:
            listening.give_up(due, "engine")
        else:
            listening.take(due, scores(due.window.samples), due.heard_at)
        events += listening.events()
    events += [*listening.close(), listening.summary()]
    summary = balanced(events)
    spans = [(due.window.start / RATE, due.window.end / RATE) for due in dues]
    assert spans == [(0, 1), (0.5, 1.5), (3, 4)]
    lost_s = 1.4 + 0.06 + (0.5 if 1 in given_up else 0.06) + (1.0 if 2 in given_up else 0.0)
    assert summary["gap_s"] == pytest.approx(lost_s)
    assert summary["tail_s"] == pytest.approx(0.04)
    (bridged,) = [gap for gap in of("gap", events) if gap.get("bridged")]
    assert bridged["start_s"] == (1.5 if 1 in given_up else 1.44)


def test_a_station_that_ends_early_tells_the_silence_of_a_tail_once() -> None:
    silence = replace(heard(1.0, 0.1, value=0.0), bridged=True)
    feed = Script(heard(0, 1.0), silence, lost(1.1, 3), heard(3, 0.4))
    feed.ended, listening = False, listener(feed)
    due = listening.next()
    assert due is not None
    assert listening.next() is None
    listening.abandon("shutdown", [due])
    summary = balanced([*listening.close(), listening.summary()])
    assert (summary["scored_s"], summary["gap_s"], summary["tail_s"]) == (0, pytest.approx(3.4), 0)


def test_an_end_in_the_middle_of_a_gap_tells_it() -> None:
    events = run(listener(Script(heard(0, 2), lost(2, 3))))
    assert [(gap["start_s"], gap["end_s"]) for gap in of("gap", events)] == [(2.0, 3.0)]
    balanced(events)


def test_the_rest_that_is_too_short_to_score_is_a_tail() -> None:
    summary = balanced(run(listener(Script(heard(0, 2.2)))))
    assert (summary["scored_s"], summary["tail_s"], summary["windows"]) == (2.0, pytest.approx(0.2), 3)


# --------------------------------------------------------------------------------------------------------------- states
def states(events: list[Event]) -> list[tuple[str, str]]:
    return [(event["state"], event["detail"]) for event in of("source", events)]


def test_a_source_that_falls_silent_says_so_and_when_that_is_over() -> None:
    """A cable that was pulled is to be noticed within seconds, and not in autumn."""
    seconds = [heard(n, 1, 0.0 if 2 <= n < 8 else 0.1) for n in range(10)]
    events = run(listener(Script(*seconds)))
    assert states(events) == [("silent", "rms -120 dBFS, peak -120 dBFS"), ("recovered", "no longer silent")]
    assert [event["at_s"] for event in of("source", events)] == [7.0, 9.0]


@pytest.mark.parametrize("state", ["closed", "lost"])
def test_a_source_that_has_gone_is_not_said_to_be_silent_for_what_was_heard_before(state: str) -> None:
    """It would be open again for whoever follows the states."""
    feed = Script(*[heard(n, 1, 0.0) for n in range(10)])
    feed.told = [Change("open", "", 0.0, 0), Change(state, "", 10.0, 10 * RATE)]
    listening = listener(feed)
    first = listening.events()
    assert states(first + run(listening)) == [("open", ""), (state, "")]
    assert listening.status().state == state


def test_the_silence_of_a_file_is_nobodys_fault() -> None:
    assert states(run(listener(Script(*[heard(n, 1, 0.0) for n in range(10)], live=False)))) == []


def test_a_microphone_that_comes_back_is_judged_anew() -> None:
    """It may be another one: four silent seconds of before are no silence of now."""
    seconds = [heard(n, 1, 0.0) for n in range(4)]
    after = [heard(n, 1, 0.0) for n in range(5, 9)]
    assert states(run(listener(Script(*seconds, lost(4, 5), *after)))) == []


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "silent"), (1.0, "clipping")])
def test_a_muted_or_loud_microphone_has_not_recovered_because_a_part_was_lost(value: float, verdict: str) -> None:
    """Each lost block of a microphone that is silent would say that it is well again."""
    before, after = ([heard(n, 1, value) for n in range(*span)] for span in ((0, 8), (9, 12)))
    well = [heard(n, 1, 0.1) for n in range(12, 24)]
    events = run(listener(Script(*before, lost(8, 9, "overrun"), *after, *well)))
    assert [event["state"] for event in of("source", events)] == [verdict, "recovered"]
    assert of("source", events)[-1]["at_s"] > 12


def test_a_silent_microphone_that_was_lost_is_not_silent_before_it_was_heard_again() -> None:
    feed = Script(*[heard(n, 1, 0.0) for n in range(6)])
    listening = listener(feed)
    while listening.next() is not None:
        pass
    feed.told = [Change("lost", "", 6.0, 6 * RATE), Change("recovered", "", 8.0, 8 * RATE)]
    told = states(listening.events())
    assert [state for state, _ in told] == ["silent", "lost", "recovered"]
    listening._accept(lost(6, 8))
    listening._accept(heard(8, 4, 0.0))
    assert states(listening.events()) == []


def test_the_changes_of_a_feed_are_told_and_are_its_state() -> None:
    feed = Script(heard(0, 1, 0.1))
    listening = listener(feed)
    assert listening.status().state == "starting"
    feed.told = [Change("open", "USB Audio", 1.0, 0), Change("lost", "stalled: no sound", 9.0, 8 * RATE)]
    assert states(listening.events()) == [("open", "USB Audio"), ("lost", "stalled: no sound")]
    listening.next()
    status = listening.status()
    assert (status.state, status.detail, status.level_dbfs) == ("lost", "stalled: no sound", None)
    feed.told = [Change("recovered", "open again", 10.0, 9 * RATE)]
    listening.events()
    status = listening.status()
    assert (status.state, status.level_dbfs) == ("open", pytest.approx(-20.0, abs=0.01))


def test_the_status_counts_what_was_heard_scored_and_lost() -> None:
    feed = Script(heard(0, 2), lost(2, 3), heard(3, 1), heard(4, 2))
    listening = listener(feed)
    for _ in range(3):
        due = listening.next()
        assert due is not None
        listening.take(due, scores(due.window.samples), due.heard_at)
    listening.next()
    status = listening.status()
    assert (status.audio_s, status.gap_s, status.waiting_s) == (4.0, 1.0, 2.0)
    feed.drift_ppm = 12.34
    assert listening.summary()["drift_ppm"] == 12.3


# ------------------------------------------------------------------------------------------------- memory and settings
def test_sound_is_remembered_where_somebody_asked_for_it() -> None:
    """For clips; without them the memory of a small computer is its own."""
    feed = [heard(0, 1), lost(1, 2), heard(2, 1, 0.25)]
    remembering = listener(Script(*feed), ListenOptions(history_s=2.0))
    run(remembering)
    assert remembering.memory.ended
    assert (remembering.memory.oldest, remembering.memory.newest) == (RATE, 3 * RATE)
    assert not remembering.memory.read(RATE, 2 * RATE).any()
    assert np.abs(remembering.memory.read(2 * RATE, 3 * RATE)).tolist() == [0.25] * RATE
    forgetting = listener(Script(*feed))
    run(forgetting)
    assert forgetting.memory.newest == 0
    assert forgetting.memory.ended


def test_other_settings_hold_from_the_next_window_on_but_windows_are_cut_as_before() -> None:
    """A hop that changed while it listens would count samples twice, or never."""
    feed = Script(*[heard(n, 1) for n in range(6)])
    listening, events, starts = listener(feed), [], []
    while (due := listening.next()) is not None:
        starts.append(due.window.start)
        listening.take(due, scores(due.window.samples), due.heard_at)
        if len(starts) == 3:
            listening.change(Settings(RATE, threshold=0.9), ListenOptions())
        events += listening.events()
    events += [*listening.close(), listening.summary()]
    assert starts == list(range(0, 5 * RATE + 1, HOP))
    assert [(event["start_s"], event["end_s"]) for event in of("detection", events)] == [(0.0, 2.0)]
    balanced(events)
