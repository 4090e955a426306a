"""BirdWeather: what is heard is sent once, with its sound; a local server answers as theirs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import soundfile

from edgebird.bundle import Bundle
from edgebird.card import Adoption
from edgebird.errors import OutputError, UsageError
from edgebird.events import Event
from edgebird.settings.build import station_settings
from edgebird.settings.model import StationSettings
from edgebird.sinks.remote import birdweather
from edgebird.sinks.remote.birdweather import MOST_WAITING, BirdWeatherSink
from edgebird.sinks.remote.build import remote_sinks
from tests.foreign import tone_bundle
from tests.live_servers import wait_until
from tests.sinking import NOON, opened

SOON_S = 120  # the pause after a refusal grows, and a busy machine has many
PLACE = (52.52, 13.41)


class Answer(BaseHTTPRequestHandler):
    """BirdWeather as far as its page says: FLAC and then JSON; WAV is 415; `answers` come first."""

    def do_POST(self) -> None:
        body, parts = self.rfile.read(int(self.headers["Content-Length"])), urlsplit(self.path)
        server: Any = self.server
        server.got.append((parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}, body))
        status = server.answers.pop(0) if server.answers else 201
        if parts.path.endswith("/soundscapes") and body[:4] != b"fLaC":
            status = 415
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"success": True, "soundscape": {"id": 7}}).encode() if status == 201 else b"no")

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(birdweather, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setenv("no_proxy", "*")
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    made.got, made.answers = [], []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def sink_of(server: Any, folder: Path, *events: Event) -> BirdWeatherSink:
    """A sink that finds these when it begins: one by one it could be done with the first before it has the second."""
    sink = BirdWeatherSink("t0ken", folder / "queue", "2p4", PLACE, f"http://127.0.0.1:{server.server_port}")
    for event in events:
        sink.take(event, None)
    return opened(sink)


def clip(folder: Path, name: str = "x.flac", **more: Any) -> Event:
    """A clip from 3 s before a detection to 3 s after it."""
    soundfile.write(folder / name, np.zeros(1000, np.int16), 32000)
    spans = {"start_s": 100.0, "end_s": 105.0, "clip_start_s": 97.0, "clip_end_s": 108.0}
    names = {"code": "comcuc", "common_name": "Common Cuckoo", "scientific_name": "Cuculus canorus"}
    event = {"event": "clip", "source": "garden", "time": NOON.isoformat(), "score": 0.87654321, **spans, **names}
    return {**event, "path": str(folder / name), "missing_s": 0.0, **more}


def sent(server: Any, kind: str) -> list[Any]:
    return [one for one in list(server.got) if one[0] == f"/api/v1/stations/t0ken/{kind}"]


def told(sink: BirdWeatherSink, count: int) -> list[Event]:
    found: list[Event] = []
    wait_until(lambda: len(found.extend(sink.tick()) or found) >= count, "event of the sink", SOON_S)
    return found


@pytest.mark.parametrize("name", ["x.flac", "x.wav"])
def test_a_detection_follows_its_sound_as_the_page_says(server: Any, tmp_path: Path, name: str) -> None:
    sink = sink_of(server, tmp_path)
    sink.take(clip(tmp_path, name), None)
    wait_until(lambda: not list((tmp_path / "queue").glob("*.json")) and bool(sent(server, "detections")), "it", SOON_S)
    (sound,), (detection,) = sent(server, "soundscapes"), sent(server, "detections")
    assert sound[1] == {"timestamp": "2023-05-01T11:59:57.000+02:00"}
    assert json.loads(detection[2]) == {
        "timestamp": "2023-05-01T12:00:00.000+02:00",
        "soundscapeId": 7,
        "soundscapeStartTime": 3.0,
        "soundscapeEndTime": 8.0,
        "commonName": "Common Cuckoo",
        "scientificName": "Cuculus canorus",
        "confidence": 0.8765,
        "algorithm": "2p4",
        "lat": 52.52,
        "lon": 13.41,
    }
    assert sink.close() == []


def test_what_waits_is_sent_after_a_restart_and_its_sound_no_second_time(server: Any, tmp_path: Path) -> None:
    server.answers = [201, 503]
    birdweather.PAUSES_S = (600.0,)  # the fixture puts it back
    sink = sink_of(server, tmp_path)
    sink.take(clip(tmp_path), None)
    (failed,) = told(sink, 1)
    assert failed["error"] == "BirdWeather answers 503 Service Unavailable"
    assert "t0ken" not in str(failed)
    assert [one["state"] for one in sink.close()] == ["closed"]
    assert len(sent(server, "soundscapes")) == len(sent(server, "detections")) == 1
    again = sink_of(server, tmp_path)
    wait_until(lambda: len(sent(server, "detections")) == 2, "the detection", SOON_S)
    assert len(sent(server, "soundscapes")) == 1
    again.close()


def test_one_that_is_refused_or_whose_clip_is_gone_does_not_stop_the_others(server: Any, tmp_path: Path) -> None:
    server.answers = [422]
    gone = clip(tmp_path, "b.flac", path=str(tmp_path / "gone.flac"))
    sink = sink_of(server, tmp_path, clip(tmp_path, "a.flac"), gone, clip(tmp_path, "c.flac"))
    failed, recovered = told(sink, 2)
    assert failed["error"] == "BirdWeather answers 422 Unprocessable Entity"
    assert (recovered["state"], recovered["lost"]) == ("recovered", 2)
    assert len(sent(server, "detections")) == 1
    assert sink.close() == []


def test_without_a_network_the_queue_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    for number in range(MOST_WAITING + 49):
        (tmp_path / "queue" / f"{number:017}.json").write_text(json.dumps(clip(tmp_path)))
    sink = opened(BirdWeatherSink("t0ken", tmp_path / "queue", "2p4", None, "http://127.0.0.1:9"))
    (failed,) = told(sink, 1)
    assert failed["error"].startswith("BirdWeather cannot be reached: ")
    sink.take(clip(tmp_path), None)
    wait_until(lambda: len(list((tmp_path / "queue").glob("*.json"))) == MOST_WAITING, "room", SOON_S)
    (closed,) = sink.close()
    assert (closed["state"], closed["lost"]) == ("closed", 50)
    assert not (tmp_path / "queue" / f"{48:017}.json").exists()


def settings(folder: Path, *more: str) -> StationSettings:
    lines = ['bundle = "b"', *more, "[birdweather]", 'token = "t0ken"', 'queue = "queue"', "[[source]]", 'mic = ""']
    (folder / "station.toml").write_text("\n".join(lines))
    return station_settings(folder / "station.toml", {})


@pytest.mark.parametrize("family", [None, "", "perch-v2", "birdnet-v3"])
def test_a_model_that_birdweather_is_not_for_is_refused(tmp_path: Path, family: str | None) -> None:
    """Its terms are for stations with BirdNET: what another model hears would spoil everybody's map."""
    made = tone_bundle(tmp_path / "tones")
    provenance = None if family is None else Adoption(family, "x.tflite", "0" * 64)
    other = Bundle(made.path, replace(made.card, provenance=provenance))
    with pytest.raises(UsageError, match=r"\[birdweather\] is for BirdNET alone"):
        remote_sinks(settings(tmp_path, "[clips]", 'folder = "clips"'), other, "ort-cpu")


def test_without_clips_there_is_nothing_to_send(tmp_path: Path) -> None:
    made = tone_bundle(tmp_path / "tones")
    birdnet = Bundle(made.path, replace(made.card, provenance=Adoption("birdnet-v2.4", "x.tflite", "0" * 64)))
    with pytest.raises(UsageError, match="sends clips: give folder = in"):
        remote_sinks(settings(tmp_path), birdnet, "ort-cpu")
    (sink,) = remote_sinks(settings(tmp_path, "[clips]", 'folder = "clips"'), birdnet, "ort-cpu")
    assert sink.name == "birdweather"


def test_a_full_disk_while_the_network_is_away_ends_nothing(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread ended there, and nothing was sent any more until the station was started again."""
    tries, write, is_full = [], birdweather._write, threading.Event()

    def write_if_there_is_room(path: Path, event: Event) -> None:
        if is_full.is_set():
            tries.append(path)
            raise OutputError("no space left on device")
        write(path, event)

    monkeypatch.setattr(birdweather, "_write", write_if_there_is_room)
    server.answers = [503] * 10_000
    sink = sink_of(server, tmp_path)
    sink.take(clip(tmp_path), None)
    assert [one["state"] for one in told(sink, 1)] == ["failed"]
    is_full.set()
    sink.take(clip(tmp_path), None)
    wait_until(lambda: len(tries) > 3, "tries", SOON_S)
    is_full.clear()
    server.answers = []
    wait_until(lambda: len(sent(server, "detections")) == 2, "both", SOON_S)
    sink.close()
