"""Settings that are read again while a station listens: what changes, what stays, and what is said of that."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgebird.bundle import Bundle
from edgebird.errors import UsageError
from edgebird.live.assembly import make_sinks, open_listener, station_options
from edgebird.live.reload import Reload
from edgebird.live.station import Station
from edgebird.runtimes import open_runtime
from edgebird.settings.build import keep_fixed
from edgebird.settings.keywords import keyword_settings
from edgebird.settings.model import StationSettings
from edgebird.sinks.thread import SinkThread
from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import wait_until


def settings(**keywords: object) -> StationSettings:
    return keyword_settings(None, None, {"bundle": "birds", "url": {"pond": "http://a/b"}, **keywords})


def pump(station: Station) -> None:
    """Do what the station does between two passes, when what it is asked to do has come."""
    wait_until(lambda: bool(station._requests), "the settings, read on another thread")
    station._requests.popleft()()


def test_fixed_settings_stay_and_are_named_by_their_keys() -> None:
    old = settings(hop=2.0, threads=2, clips="clips", max_age=3, duration=5.0)
    new = settings(hop=1.0, threshold=0.7, clips="clips", max_age=4, duration=6.0, buffer=30.0, latitude=1, longitude=2)
    kept, stay = keep_fixed(old, new)
    assert stay == ["threads", "hop", "latitude", "longitude", "clips.max-age", "buffer", "duration"]
    assert kept == replace(old, detection=replace(old.detection, threshold=0.7))
    assert keep_fixed(old, settings(hop=2.0, threads=2, duration=5.0)) == (old, ["clips"])
    assert keep_fixed(old, replace(old)) == (old, [])


def test_a_station_changes_what_it_can_or_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bundle: Bundle = tone_bundle(tmp_path / "tones")
    soundfile.write(tmp_path / "song.wav", scene(30, [(0, 0.5, 0, 30)]), RATE)

    def wanted(**more: object) -> StationSettings:
        names = ("stays", "new") if more else ("stays", "goes")
        files = dict.fromkeys(names, tmp_path / "song.wav")
        return keyword_settings(None, None, {"bundle": bundle.path, "file": files, "realtime": True, **more})

    old, runtime = wanted(), open_runtime(bundle)
    telling = SinkThread(make_sinks(old, bundle, runtime.name))
    telling.open()
    station = Station(runtime, telling, station_options(old))
    for source in old.sources:
        station.add(open_listener(source, old, bundle.card))
    answers: list[StationSettings | Exception] = [
        UsageError("a wrong key"),
        wanted(species_list=tmp_path / "none.txt"),
        wanted(threshold=0.9, hop=1.0),
    ]

    def read() -> StationSettings:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    reload = Reload(station, old, bundle, read)
    logging.getLogger("edgebird").setLevel(logging.INFO)
    with caplog.at_level(logging.INFO, "edgebird"):
        for _ in range(2):
            reload()
            pump(station)
        assert reload.settings is old
        reload()
        pump(station)
    complaints = [record.getMessage() for record in caplog.records]
    assert complaints[0] == "the new settings are wrong, the old ones stay: a wrong key"
    assert complaints[1].startswith("the new settings are wrong, the old ones stay: ")
    assert complaints[2:] == [
        "these settings change at the next start only: hop",
        "settings read again: 1 sources stay, 1 are new",
    ]
    assert [listener.name for listener in station.listeners] == ["stays", "goes", "new"]
    assert (reload.settings.detection.threshold, reload.settings.detection.hop_s) == (0.9, old.detection.hop_s)
    station.stop()
    station.run()
    runtime.close()


class Sources:
    """A station of files, and a Reload that is given one settings after the other."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.bundle, self._song, self._more = tone_bundle(folder / "tones"), folder / "song.wav", more
        soundfile.write(self._song, np.tile(scene(30, [(0, 0.5, 0, 30)])[:, np.newaxis], 3), RATE)
        old = self.wanted("a", "b")
        self.runtime = open_runtime(self.bundle)
        telling = SinkThread(make_sinks(old, self.bundle, self.runtime.name))
        telling.open()
        self.station = Station(self.runtime, telling, station_options(old))
        for source in old.sources:
            self.station.add(open_listener(source, old, self.bundle.card))
        self.answers: list[StationSettings] = []
        self.reload = Reload(self.station, old, self.bundle, lambda: self.answers.pop(0))

    def wanted(self, *names: str, **changed: object) -> StationSettings:
        """Settings with these sources."""
        files = dict.fromkeys(names, self._song)
        given = {"bundle": self.bundle.path, "file": files, "realtime": True, **self._more, **changed}
        return keyword_settings(None, None, given)

    def changed(self, *names: str, channel: int) -> StationSettings:
        """The first of these sources is another one; of a file, the channel says no more than that."""
        made = self.wanted(*names)
        first, *others = made.sources
        return replace(made, sources=(replace(first, channel=channel), *others))

    def load(self, settings: StationSettings) -> None:
        self.answers.append(settings)
        self.reload()
        pump(self.station)

    def end(self) -> None:
        self.station.stop()
        self.station.run()
        self.runtime.close()


def test_of_two_changes_of_a_source_the_last_one_counts(tmp_path: Path) -> None:
    """Both come before the old source has ended."""
    it = Sources(tmp_path)
    first = it.station.listeners[0]
    it.load(it.changed("a", "b", channel=1))
    second = it.station.listeners[-1]
    it.load(it.changed("a", "b", channel=2))
    third = it.station.listeners[-1]
    assert [one.name for one in it.station.listeners] == ["a", "b", "a"]
    assert third not in (first, second)
    wait_until(lambda: (it.station._step(0.0), third in it.station._listeners)[1], "the start of the last one")
    assert second not in it.station.listeners
    it.load(it.changed("a", "b", channel=3))
    it.load(it.wanted("b"))
    assert [one.name for one in it.station.listeners] == ["b", "a"]
    wait_until(lambda: (it.station._step(0.0), len(it.station.listeners) == 1)[1], "the end of a removed source")
    it.end()


def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    it = Sources(tmp_path, format="csv", out=tmp_path / "out")
    it.load(it.wanted("a", "b", explain=True))
    assert caplog.records[-1].getMessage().startswith("the new settings are wrong, the old ones stay: ")
    it.end()


def test_scoring_does_not_wait_for_files_that_are_read_again(tmp_path: Path) -> None:
    it = Sources(tmp_path)
    go, on = threading.Event(), []

    def read() -> StationSettings:
        on.append(threading.current_thread())
        go.wait(10)
        return it.wanted("a", threshold=0.9 if len(on) > 1 else 0.8)

    it.reload.read = read
    it.reload()
    it.reload()  # while the first is read: then once more
    it.reload()
    go.set()
    pump(it.station)
    pump(it.station)
    assert len(on) == 2
    assert threading.current_thread() not in on
    assert it.reload.settings.detection.threshold == 0.9
    it.end()
