"""What a person in a terminal sees of a station: its sources, their sound, what was heard, and what it costs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType

from rich.cells import set_cell_size
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from edgebird.cli.spectrum import COLUMN_S, Spectrogram, in_characters, in_colours
from edgebird.events import Event
from edgebird.live.figures import Percentiles, Performance, SourceStatus, Status
from edgebird.types import FloatArray

_INTERVAL_S = 0.5
_SHARE = 0.02  # of a core for drawing: on a slow computer it is done less often
_HELD = 10  # detections
_HEARD = ("open", "silent", "clipping", "quiet")  # states in which sound comes
_STATES = {"open": "green", "starting": "cyan", "lost": "bold red", "closed": "dim"}  # all others: yellow
_LOWEST_DBFS = -80.0
_ROWS = range(3, 13)  # lines of a spectrogram

Recent = Callable[[str, float], FloatArray]


@dataclass(frozen=True, slots=True)
class _Heard:
    """A detection or its onset. key: the same for both."""

    key: tuple[str, str, float]
    clock: str
    score: float
    name: str
    source: str
    latency_s: float | None
    going_on: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines that fit the terminal."""

    lines: list[list[Segment]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give them to rich."""
        for line in self.lines:
            yield from line
            yield Segment.line()


class Screen:
    """The live screen of a station, drawn by a thread of its own at most twice a second.

    console: a terminal. rate: Hz. recent: gives the last seconds of a source, float32 [at most seconds * rate], by its
    name; it is called from the thread that draws. What is printed on stdout and stderr meanwhile appears above it.
    """

    def __init__(self, console: Console, rate: int, recent: Recent) -> None:
        self._console, self._rate, self._recent = console, rate, recent
        # stdout is UTF-8 whatever the terminal is; stderr is as the locale has it.
        encodings = (console.encoding, getattr(sys.stderr, "encoding", None) or "utf-8")
        self._ascii = not all(encoding.lower().startswith("utf") for encoding in encodings)
        self._coloured = bool(console.color_system) and not console.no_color
        self._status: Status | None = None
        self._heard: tuple[_Heard, ...] = ()
        self._spectra: dict[str, Spectrogram] = {}
        self._drawn_until = time.monotonic()
        self._size = console.size
        self._picture = Picture([])
        self._streams = sys.stdout, sys.stderr
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_stopped, name="screen", daemon=True)
        self._live = Live(
            console=console,
            auto_refresh=False,
            get_renderable=lambda: self._picture,
            redirect_stdout=_is_terminal(sys.stdout),  # else their lines go where they were sent
            redirect_stderr=_is_terminal(sys.stderr),
        )

    def show(self, status: Status) -> None:
        """Take how the station is doing; it is drawn in its time."""
        self._status = status

    def take(self, event: Event) -> None:
        """Take an event; detections and their onsets are shown."""
        if event["event"] not in ("onset", "detection"):
            return
        new = _heard(event)
        known = [old for old in self._heard if old.key == new.key]
        if known:
            new = replace(new, latency_s=known[0].latency_s)  # until it was first told
            self._heard = tuple(new if old.key == new.key else old for old in self._heard)
        else:
            self._heard = (new, *self._heard)[:_HELD]

    def __enter__(self) -> Screen:
        self._streams = sys.stdout, sys.stderr
        self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(timeout=2)
        try:
            self._finish()
        finally:
            sys.stdout, sys.stderr = self._streams  # what is said now must not wait for the screen

    def _finish(self) -> None:
        if not self._thread.is_alive():  # else the terminal takes nothing, and stopping must not wait for it
            with suppress(OSError):
                self._draw()
                self._live.stop()

    def _draw_until_stopped(self) -> None:
        pause = _INTERVAL_S
        while not self._stopping.wait(pause):
            before = time.thread_time()
            try:
                self._draw()
            except OSError:  # the terminal is gone, the station is not
                return
            pause = max(_INTERVAL_S, (time.thread_time() - before) / _SHARE)

    def _draw(self) -> None:
        if self._console.size != self._size:
            # The terminal has wrapped the lines anew: nobody knows where they are now.
            self._size = self._console.size
            self._console.control(Control.clear(), Control.home())
        self._picture = self.picture(time.monotonic())
        self._live.refresh()

    def picture(self, now: float) -> Picture:
        """What there is to see now, in monotonic seconds, no larger than the terminal."""
        status = self._status
        if status is None:
            return Picture([])
        width, height = self._size
        room = height - max(2, height // 5)  # the rest is for what is printed above
        top = [_head(status), *_sources(status.sources, width, room - 7, self._ascii)]
        bottom = _performance(status.performance, width)
        if status.sinks:
            top.append(Text(f"results are not written in time: {_printable(str(status.sinks))}", style="bold red"))
        room -= len(top) + len(bottom)
        heard = self._heard[: max(2, room // 3)]
        spectra = self._spectrograms(status.sources, now, ConsoleDimensions(width, room - max(2, len(heard))))
        several = len(status.sources) > 1
        middle = [_detection(one, several) for one in heard]
        lines = [self._line(text) for text in top] + spectra
        lines += [self._line(text) for text in middle + bottom]
        return Picture(lines[: max(1, height - 1)])

    def _line(self, text: Text) -> list[Segment]:
        """Text as segments, cut to the width."""
        if self._ascii:
            text.plain = text.plain.encode("ascii", "replace").decode()
        text.truncate(self._size.width, overflow="crop" if self._ascii else "ellipsis")
        text.end = ""
        return list(text.render(self._console))

    def _spectrograms(
        self, sources: Sequence[SourceStatus], now: float, room: ConsoleDimensions
    ) -> list[list[Segment]]:
        """As many as there is room for, those of sources that are heard first; with several sources a heading each."""
        columns = int((now - self._drawn_until) / COLUMN_S)
        self._drawn_until += columns * COLUMN_S
        heading = int(len(sources) > 1)
        most = max(1, room.height // 7)
        shown = sources if len(sources) <= most else sorted(sources, key=lambda one: one.state not in _HEARD)[:most]
        self._spectra = {one.name: self._spectra.get(one.name) or Spectrogram(self._rate) for one in shown}
        rows = min(room.height // len(shown) - heading, _ROWS[-1]) if shown else 0
        if rows not in _ROWS:
            return []
        lines = []
        for source in shown:
            self._listen(source, columns)
            if heading:
                lines.append(self._line(Text(_printable(source.name), style="dim")))
            lines += self._spectrogram(self._spectra[source.name], room.width, rows)
        return lines

    def _listen(self, source: SourceStatus, columns: int) -> None:
        """Add the next columns to the spectrum of a source."""
        spectrum = self._spectra[source.name]
        if columns and source.state in _HEARD:
            seconds = spectrum.samples_for(columns) / self._rate
            spectrum.push(self._recent(source.name, seconds), columns)
        elif columns:
            spectrum.blank(columns)

    def _spectrogram(self, spectrum: Spectrogram, width: int, rows: int) -> list[list[Segment]]:
        labels = [""] * rows
        labels[0], labels[-1] = f"{spectrum.top_hz / 1000:g} kHz", "0"
        if self._coloured and not self._ascii:
            many = self._console.color_system in ("256", "truecolor")
            lines = in_colours(spectrum.picture(width - 8, 2 * rows), many)
        else:
            lines = in_characters(spectrum.picture(width - 8, rows))
        return [[Segment(f"{label:>7} ", _DIM), *line] for label, line in zip(labels, lines, strict=True)]


_DIM = Style(dim=True)


def _is_terminal(stream: object) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _heard(event: Event) -> _Heard:
    return _Heard(
        key=(event["source"], event["code"], event["start_s"]),
        clock=event["time"][11:19] if event["time"] else _span(event["start_s"]),
        score=event["score"],
        name=f"{event['common_name']} ({event['scientific_name']})",
        source=event["source"],
        latency_s=event.get("latency_s"),
        going_on=event["event"] == "onset",
    )


def _head(status: Status) -> Text:
    return Text.assemble(
        ("edgebird", "bold"), (f"  listening for {_span(status.wall_s)} with {_printable(status.runtime)}", "dim")
    )


# ---- the table of sources: (heading, width, what it says of a source), the most important first


_Cell = Callable[[SourceStatus], str]
_FIGURES: list[tuple[str, int, _Cell]] = [
    ("dBFS", 5, lambda source: "-" if source.level_dbfs is None else f"{source.level_dbfs:.0f}"),
    ("gaps", 8, lambda source: _short(source.gap_s)),
    ("waiting", 7, lambda source: _short(source.waiting_s)),
    ("audio", 8, lambda source: _span(source.audio_s)),
    ("scored", 8, lambda source: _span(source.scored_s)),
    ("drift", 8, lambda source: "-" if source.drift_ppm is None else f"{source.drift_ppm:+.0f} ppm"),
]
_NAME_WIDTH, _STATE_WIDTH, _METER_WIDTH = 10, 8, 8  # at least


def _sources(sources: Sequence[SourceStatus], width: int, room: int, plain: bool) -> list[Text]:
    """A heading, a line for each source and one below it for what is wrong with it; those with troubles come first if
    there is not room for all."""
    free = width - _NAME_WIDTH - _STATE_WIDTH - _METER_WIDTH - 2
    figures = []
    for figure in _FIGURES:
        if figure[1] + 1 <= free:
            figures.append(figure)
            free -= figure[1] + 1
    name_width = _NAME_WIDTH + min(free // 2, 14)
    meter_width = _METER_WIDTH + min(free - free // 2, 24)
    heading = f"{'source':{name_width}} {'state':{_STATE_WIDTH}} {'level':{meter_width}}"
    lines = [Text(heading + "".join(f" {title:>{size}}" for title, size, _ in figures), style="dim")]
    details = sum(bool(source.detail) for source in sources)
    crowded = len(sources) + details > room
    shown = sorted(sources, key=lambda source: source.state == "open")[: max(1, room)] if crowded else sources
    for source in shown:
        line = Text(set_cell_size(_printable(source.name), name_width) + " ")
        line.append(f"{source.state:{_STATE_WIDTH}}", style=_STATES.get(source.state, "yellow"))
        line.append(" ").append_text(_meter(source, meter_width, plain))
        line.append("".join(f" {cell(source):>{size}}" for _, size, cell in figures))
        lines.append(line)
        if source.detail and not crowded:
            lines.append(Text(f"  {_printable(source.detail)}", style=_STATES.get(source.state, "yellow")))
    if len(shown) < len(sources):
        lines[-1] = Text(f"and {len(sources) - len(shown) + 1} more sources", style="dim")
    return lines


def _meter(source: SourceStatus, width: int, plain: bool) -> Text:
    """A bar for the level and a mark for the peak, from -80 to 0 dBFS."""
    if source.level_dbfs is None or source.peak_dbfs is None:
        return Text(" " * width)
    level, peak = (
        min(max(0, round((dbfs / -_LOWEST_DBFS + 1) * width)), width)
        for dbfs in (max(source.level_dbfs, _LOWEST_DBFS), max(source.peak_dbfs, _LOWEST_DBFS))
    )
    colour = "red" if source.peak_dbfs > -1 else "yellow" if source.peak_dbfs > -6 else "green"
    bar, mark = ("#", "|") if plain else ("█", "│")
    text = Text(bar * level, style=colour)
    if peak > level:
        text.append(" " * (peak - level - 1) + mark)
    return text.append(" " * (width - len(text)))


def _detection(heard: _Heard, several: bool) -> Text:
    latency = "" if heard.latency_s is None else f"  after {heard.latency_s:.1f} s"
    return Text.assemble(
        f"{heard.clock}  ",
        (f"{heard.score:.2f}", "green" if heard.score >= 0.7 else "yellow"),
        (f"  {_printable(heard.name)}", "bold" if heard.going_on else ""),
        (f"  {_printable(heard.source)}" if several else "", "dim"),
        (latency, "dim"),
    )


def _performance(performance: Performance, width: int) -> list[Text]:
    """One line, or more if the terminal is narrow."""
    parts = [
        f"real-time factor {performance.real_time_factor:.2f}",
        f"inference {_p50_p99(performance.inference_ms, '.0f')} ms",
        f"latency {_p50_p99(performance.latency_s, '.1f')} s",
        f"misses {performance.misses}",
        f"CPU {performance.cpu_percent:.0f}%",
        f"memory {performance.memory_mb:.0f} MB",
    ]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(part)
    return [Text(line, style="dim") for line in lines]


def _p50_p99(figure: Percentiles | None, form: str) -> str:
    return f"p50 {figure.p50:{form}} p99 {figure.p99:{form}}" if figure else "-"


def _span(seconds: float) -> str:
    """A long time in at most eight characters."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours < 100 else f"{hours // 24}d {hours % 24}h"


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else _span(seconds)


def _printable(text: str) -> str:
    """Text without what would move the cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)
