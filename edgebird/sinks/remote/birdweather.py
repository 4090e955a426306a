"""BirdWeather: detections with their clips, from a queue on the disk; docs/station.md says for which models.

A clip is posted to https://app.birdweather.com/api/v1/stations/TOKEN/soundscapes, then its detection to `detections`.
What is in the queue is sent when the network is back, also after a restart. The token is in no message.
"""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import soundfile

from edgebird import __version__
from edgebird.errors import EdgebirdError, OutputError
from edgebird.events import Event, to_json
from edgebird.files import atomic_path, make_folder
from edgebird.sinks import Memory, Sink
from edgebird.sinks.remote.outage import Outage

ALGORITHMS = {"birdnet-v2.4": "2p4"}  # family of a card's provenance -> what BirdWeather calls it; no other may be sent
SERVER = "https://app.birdweather.com"
MOST_WAITING = 500  # detections in the queue, and as many that are not in it yet
PAUSES_S = (15.0, 60.0, 600.0)  # after a failure, a second one, more
_TIMEOUT_S = 20.0
_END_S = 3.0


class BirdWeatherSink(Sink):
    """Sends each detection that has a clip, on a thread of its own.

    token: of the station at BirdWeather. queue: a folder for it alone. algorithm: what BirdWeather calls the model.
    place: latitude and longitude, None where nobody said. server: another one, for tests.
    """

    name = "birdweather"

    def __init__(
        self, token: str, queue: Path, algorithm: str, place: tuple[float, float] | None, server: str = SERVER
    ) -> None:
        self._address = f"{server}/api/v1/stations/{quote(token, safe='')}"
        self._queue, self._algorithm, self._place = queue, algorithm, place
        self._outage = Outage(self.name)
        self._new: deque[Event] = deque()
        self._wake, self._ending = threading.Event(), False
        self._failures, self._number = 0, 0
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Make the queue, and begin with what waits in it."""
        make_folder(self._queue)
        self._thread = threading.Thread(target=self._run, name="birdweather", daemon=True)
        self._thread.start()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Have a clip sent. One whose time nobody knows is not."""
        if event["event"] == "clip" and event["path"] and event["time"]:
            self._new.append(event)
            if len(self._new) > MOST_WAITING:  # the disk hangs
                self._new.popleft()
                self._outage.lose()
            self._wake.set()

    def tick(self) -> list[Event]:
        """Tell what has failed, and what works again."""
        return self._outage.events()

    def close(self) -> list[Event]:
        """End; what is in the queue stays there. A request that hangs is left behind."""
        self._ending = True
        self._wake.set()
        if self._thread:
            self._thread.join(_END_S)
        self._outage.end("closed")
        return self._outage.events()

    # ------------------------------------------------------------------------------------------------ the thread
    def _run(self) -> None:
        while True:
            ending = self._ending
            try:
                self._keep()
                done = ending or self._send()
            except Exception as error:  # noqa: BLE001  whatever it is, the next may be sent
                self._fail(error)
                done = True
            if ending:
                return
            if done:
                self._wait()

    def _wait(self) -> None:
        """Until there is something new, or a failure is to be tried again."""
        if self._failures:
            pause = PAUSES_S[min(self._failures, len(PAUSES_S)) - 1]
            end = threading.Event()
            while pause > 0 and not self._ending:
                end.wait(min(pause, 1.0))
                pause -= 1.0
                with suppress(EdgebirdError, OSError):  # it is told at the next try, and this thread goes on to that
                    self._keep()
        else:
            self._wake.wait()
            self._wake.clear()

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        text = str(error) if isinstance(error, EdgebirdError | OSError) else f"{type(error).__name__}: {error}"
        self._outage.fail(text)

    def _waiting(self) -> list[Path]:
        return sorted(self._queue.glob("*.json"))

    def _keep(self) -> None:
        """Put what is new into the queue; the oldest of too many goes."""
        while self._new:
            event = self._new.popleft()
            self._number += 1
            try:
                _write(self._queue / f"{datetime.now().timestamp():017.6f}-{self._number:06}.json", event)
            except OutputError:
                self._new.appendleft(event)
                raise
        for path in self._waiting()[:-MOST_WAITING]:
            path.unlink(missing_ok=True)
            self._outage.lose()

    def _send(self) -> bool:
        """Send the oldest; whether there is none. Raises OutputError, OSError where it has to be tried again."""
        waiting = self._waiting()
        if not waiting:
            self._failures = 0
            self._outage.end()
            return True
        path = waiting[0]
        try:
            event = json.loads(path.read_bytes())
            if "soundscape" not in event:
                event["soundscape"] = self._post_clip(event)
                _write(path, event)  # a second try sends it no second time
            self._post("detections", json.dumps(self._detection(event)).encode(), "application/json")
        except (
            FileNotFoundError,
            ValueError,
            _RefusedError,
        ) as error:  # retention has the clip, half a file, no such bird
            self._outage.fail(str(error))
            self._outage.lose()
        path.unlink(missing_ok=True)
        self._failures = 0
        return False

    def _post_clip(self, event: Event) -> Any:
        """The id that its sound is given."""
        begun = _moment(event, event["clip_start_s"] - event["start_s"])
        place = f"soundscapes?{urlencode({'timestamp': begun})}"
        answer = self._post(place, _flac(Path(event["path"])), "audio/flac")
        try:
            return answer["soundscape"]["id"]
        except (KeyError, TypeError):
            raise OutputError("BirdWeather answers without a soundscape") from None

    def _detection(self, event: Event) -> dict[str, Any]:
        found = {
            "timestamp": _moment(event, 0.0),
            "soundscapeId": event["soundscape"],
            "soundscapeStartTime": round(event["start_s"] - event["clip_start_s"], 3),
            "soundscapeEndTime": round(event["end_s"] - event["clip_start_s"], 3),
            "commonName": event["common_name"],
            "scientificName": event["scientific_name"],
            "confidence": round(event["score"], 4),
            "algorithm": self._algorithm,
        }
        return found | ({"lat": self._place[0], "lon": self._place[1]} if self._place else {})

    def _post(self, place: str, body: bytes, kind: str) -> Any:
        """What the server answers, from JSON. Raises _RefusedError for what it will never take, OutputError else."""
        headers = {"Content-Type": kind, "User-Agent": f"edgebird/{__version__}"}
        request = urllib.request.Request(f"{self._address}/{place}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                text = f"BirdWeather answers {error.code} {error.reason}"
            if error.code in (400, 413, 415, 422):
                raise _RefusedError(text) from None
            raise OutputError(text) from None
        except urllib.error.URLError as error:
            raise OutputError(f"BirdWeather cannot be reached: {error.reason}") from None
        except ValueError:
            raise OutputError("BirdWeather answers with what is no JSON") from None


class _RefusedError(EdgebirdError):
    """One that the server will never take."""


def _write(path: Path, event: Event) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(to_json(event), encoding="utf-8")


def _moment(event: Event, later_s: float) -> str:
    return (datetime.fromisoformat(event["time"]) + timedelta(seconds=later_s)).isoformat(timespec="milliseconds")


def _flac(path: Path) -> bytes:
    """The clip as FLAC, which alone BirdWeather takes."""
    if path.suffix == ".flac":
        return path.read_bytes()
    samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="int16")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, "PCM_16", format="FLAC")
    return buffer.getvalue()
