"""What a page that is open costs listening: CPU for a window of the station, with and without it; docs/serve.md has it.

    python -m edgebird.benchmarks.studies.watching BUNDLE --sources 4 --hop 0.5

One station hears a file as it sounds, with the runtime `null`, and one server shows it. A page is open and closed in
turns; the order changes from round to round. The CPU time is the kernel's clock of each process (Linux), so that what
else the machine does matters little.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from edgebird.bundle import Bundle, open_bundle
from edgebird.errors import EdgebirdError, UsageError

_START_S = 30.0  # for each of the two
_SETTLE_S = 15.0  # until loading is forgotten
_TURN_S = 3.0  # after a page was opened or closed


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process, of threads that have ended too (CPUCLOCK_SCHED of clock_gettime)."""
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True, slots=True)
class Turn:
    """CPU of the station, ms a window, and of the server, % of one core."""

    station_ms: float
    server_percent: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A station and its server. windows_s: how many windows the station scores a second."""

    station: int
    server: int
    port: int
    windows_s: float

    def turn(self, seconds: float) -> Turn:
        """Look for so long."""
        began, station, server = time.monotonic(), cpu_s(self.station), cpu_s(self.server)
        time.sleep(seconds)
        passed = time.monotonic() - began
        spent = cpu_s(self.station) - station
        return Turn(1e3 * spent / (passed * self.windows_s), 100 * (cpu_s(self.server) - server) / passed)

    @contextmanager
    def page(self) -> Iterator[None]:
        """Have the page open, as a browser does: its stream is read."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as page:
            page.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            while page.recv(1 << 16):
                pass
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        stream.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = [0]

        def read() -> None:
            while data := stream.recv(1 << 16):
                received[0] += len(data)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield
        finally:
            stream.shutdown(socket.SHUT_RDWR)
            reader.join()
            stream.close()
        if received[0] < 10_000:
            raise UsageError(f"the page was told {received[0]} bytes only: it saw no station")


def measure(pair: Pair, rounds: int, seconds: float) -> list[tuple[Turn, Turn]]:
    """Without and with a page, in turns."""
    found = []
    for number in range(rounds):
        turns: dict[bool, Turn] = {}
        for opened in (False, True) if number % 2 == 0 else (True, False):
            if opened:
                with pair.page():
                    time.sleep(_TURN_S)
                    turns[opened] = pair.turn(seconds)
            else:
                time.sleep(_TURN_S)
                turns[opened] = pair.turn(seconds)
        found.append((turns[False], turns[True]))
        bare, shown = found[-1]
        line = f"round {number + 1}: {bare.station_ms:.2f} ms a window, {shown.station_ms:.2f} with the page"
        print(f"{line}; the server {bare.server_percent:.1f} and {shown.server_percent:.1f} % of a core", flush=True)
    return found


@contextmanager
def running(bundle: Bundle, folder: Path, sources: int, hop_s: float, seconds: float) -> Iterator[Pair]:
    """A station that hears golden windows for so long, and its server. Raises UsageError where one does not come."""
    card, database = bundle.card, folder / "birds.db"
    sound = np.concatenate(list(bundle.golden().windows()))
    samples = np.resize(sound, round(seconds * card.sample_rate))
    names = [folder / f"garden{number}.wav" for number in range(sources)]
    soundfile.write(names[0], samples, card.sample_rate, "PCM_16")
    for name in names[1:]:
        name.symlink_to(names[0])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    files = [part for name in names for part in ("--file", str(name))]
    kept = ["--bundle", str(bundle.path), "--database", str(database), "--runtime", "null", "--hop", str(hop_s)]
    edgebird = [sys.executable, "-m", "edgebird", "-q"]
    listen = [*edgebird, "listen", *files, "--realtime", *kept]
    serve = [*edgebird, "serve", "--database", str(database), "--listen", f"127.0.0.1:{port}"]
    with _process(listen) as station:
        _until(lambda: Path(f"{database}.live").exists(), "no station has come", station)
        with _process(serve) as server:
            _until(lambda: _answers(port), "no server has come", server)
            time.sleep(_SETTLE_S)
            yield Pair(station.pid, server.pid, port, sources / hop_s)


@contextmanager
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def _until(is_there: Callable[[], bool], problem: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_S
    while not is_there():
        if time.monotonic() > end or process.poll() is not None:
            raise UsageError(problem)
        time.sleep(0.1)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="What a page that is open costs listening.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--hop", type=float, default=0.5, help="seconds")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn")
    args = parser.parse_args()
    length = _START_S + _SETTLE_S + 2 * args.rounds * (args.seconds + _TURN_S + 1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            bundle = open_bundle(args.bundle)
            with running(bundle, Path(folder), args.sources, args.hop, length) as pair:
                rounds = measure(pair, args.rounds, args.seconds)
    except EdgebirdError as error:
        sys.exit(f"error: {error}")
    _conclude(rounds, f"{args.sources} sources at {bundle.card.sample_rate} Hz, a window each {args.hop:g} s of each")


def _conclude(rounds: Sequence[tuple[Turn, Turn]], what: str) -> None:
    bare, page = ([turns[opened] for turns in rounds] for opened in (0, 1))
    without, shown = (statistics.median(turn.station_ms for turn in turns) for turns in (bare, page))
    more = sorted(page.station_ms - bare.station_ms for bare, page in rounds)
    print(f"medians of {what}: {without:.2f} ms of CPU a window, {shown:.2f} with the page")
    print(f"in turns {statistics.median(more):+.2f} ({more[0]:+.2f} to {more[-1]:+.2f}); ", end="")
    print(f"the server {statistics.median(turn.server_percent for turn in page):.1f} % of a core with the page")


if __name__ == "__main__":
    main()
