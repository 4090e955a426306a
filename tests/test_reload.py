"""Settings that are read again while a station listens: what changes, what stays, and what is said of that."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

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


def settings(**keywords: object) -> StationSettings:
    return keyword_settings(None, None, {"bundle": "birds", "url": {"pond": "http://a/b"}, **keywords})


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
        reload()
        reload()
        assert reload.settings is old
        reload()
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
