"""What can be set: the one place where a setting is declared, with its key, option, default, check and help.

A field that is added here is a key of the TOML file, an option of the commands it names, a line of --help and a line of
the documentation (`python -m edgebird.settings.reference docs`). Only the code that acts on it is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgebird.errors import UsageError
from edgebird.settings import checks
from edgebird.settings.hours import Spans, asks_the_sun, hours
from edgebird.settings.place import PLACE, PlaceSettings
from edgebird.settings.privacy import PrivacySettings
from edgebird.settings.row import Option, Setting, all_rows, own_rows, set_by, table
from edgebird.settings.suppress import SuppressSettings
from edgebird.settings.telling import AlertSettings, BirdWeatherSettings, MetricsSettings, MqttSettings

NEEDS_PLACE = "latitude and longitude are needed to know where the sun is"
HOP_S = 2.5
THRESHOLD = 0.3
# Those of `parity`, which takes too long to import for a help text.
PRECISIONS = "fp32, fp16, bf16, int8, int8+bf16, int8+fp16"

SOURCES, REPORTS, FILES, CLIPS = "Sources", "What is reported", "Where it is kept", "Clips"
PANELS = (SOURCES, "", REPORTS, PLACE, FILES, CLIPS)  # in the order of --help
BOTH, DETECT = ("listen", "detect"), ("detect",)


def _runtimes() -> Iterable[str]:
    from edgebird.runtimes import RUNTIMES

    return ("auto", *RUNTIMES)


def _precisions() -> Iterable[str]:
    from edgebird.parity import TOLERANCES

    return TOLERANCES


def _formats() -> Iterable[str]:
    from edgebird.formats import FORMATS

    return FORMATS


def _recording_formats() -> Iterable[str]:
    return (*_formats(), "parquet")


# A row is one Setting, however many lines it takes: laid out by hand, so that it can be read as a table.
# fmt: off
@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source of sound: a [[source]].

    kind: one of KINDS, the key that gives the address.
    address: of a microphone its device by name or number, empty for the default; else a URL, a path, or the form of
    the sound on stdin. It may hold a password, so it is never printed.
    channel: 1 is the first, None the mean of all. track: of audio, None for the one with the highest sampling rate.
    """

    name: str = field(metadata=set_by(
        Setting("name", "What events call the source: letters, digits, - and _.", checks.text(), active=True)))
    kind: str
    address: str = field(repr=False, metadata=set_by(
        Setting("mic", "A microphone by number or (part of) its name, see `edgebird microphones`.",
                checks.device(), Option("--device", "X", SOURCES, repeated=True, named=True),
                note='a part of the name that `edgebird microphones` shows; "" is the default one',
                example="USB Audio", active=True),
        Setting("url", "A stream, RTSP or HTTP; ${NAME} is taken from the environment.",
                checks.text(), Option("--url", "URL", SOURCES, repeated=True, named=True),
                note="RTSP or HTTP", example="rtsp://${POND_USER}:${POND_PASSWORD}@192.168.1.20:554/stream1"),
        Setting("file", "A recording, as fast as possible.",
                checks.text(kind=Path), Option("--file", "FILE", SOURCES, repeated=True), example="dawn.wav"),
        Setting("stdin", "Raw PCM on standard input: s16le:48000:1 is its type, rate and channels.",
                checks.text(), Option("--stdin", "FORMAT", SOURCES),
                note="raw PCM: type of the samples, rate, channels", example="s16le:48000:1")))
    channel: int | None = field(default=None, metadata=set_by(
        Setting("channel", "One channel, 1 is the first; default: the mean of all.",
                checks.whole(1, "1 for the first, or more"), Option("--channel", "N", SOURCES, minimum=1),
                example=1)))
    transport: str = field(default="tcp", metadata=set_by(
        Setting("transport", "Of RTSP: tcp or udp, default {default}.", checks.choice(lambda: ("tcp", "udp")),
                Option("--transport", "tcp|udp", SOURCES), kinds=("url",))))
    timeout_s: float = field(default=15.0, metadata=set_by(
        Setting("timeout", "Of streams: seconds without sound, default {default}, after which they are opened anew.",
                checks.number(1, 600, "seconds"), Option("--timeout", "S", SOURCES), kinds=("url",))))
    track: int | None = field(default=None, metadata=set_by(
        Setting("track", "Of streams: which audio track, 1 is the first; default: the one with the highest tones.",
                checks.whole(1, "1 for the first, or more"), Option("--track", "N", SOURCES, minimum=1),
                example=2, kinds=("url",))))
    verify: bool | str = field(default=True, metadata=set_by(
        Setting("verify", "Whether the certificate of https and rtsps must be valid: true, the default; false takes "
                "any, sha256:... the one with that fingerprint.", checks.certificate(),
                Option("--verify", "true|false|sha256:...", SOURCES), kinds=("url",),
                note="https, rtsps: true verifies certificates, false takes any, a fingerprint the one that has it",
                example=f"sha256:{'0123456789abcdef' * 4}")))
    realtime: bool = field(default=False, metadata=set_by(
        Setting("realtime", "Play files no faster than they were recorded.", checks.boolean(),
                Option("--realtime", panel=SOURCES), example=True, kinds=("file",))))
    gain_db: float = field(default=0.0, metadata=set_by(
        Setting("gain", "Decibels that its sound is made louder before it is scored, default {default}.",
                checks.number(-60, 60, "decibels"), Option("--gain", "DB", SOURCES, BOTH), example=6)))
    high_pass_hz: float | None = field(default=None, metadata=set_by(
        Setting("high-pass", "Takes away what is lower, such as traffic, before it is scored.",
                checks.number(10, 20000, "hertz"), Option("--high-pass", "HZ", SOURCES, BOTH), example=150)))
    low_pass_hz: float | None = field(default=None, metadata=set_by(
        Setting("low-pass", "Takes away what is higher.", checks.number(100, 100000, "hertz"),
                Option("--low-pass", "HZ", SOURCES, BOTH), example=12000)))
    process_clips: bool = field(default=False, metadata=set_by(
        Setting("process-clips", "Clips have the sound as it is scored; default: as it was heard.", checks.boolean(),
                Option("--process-clips", panel=SOURCES), example=True)))
    quiet_hours: Spans = field(default=(), metadata=set_by(
        Setting("quiet-hours", "When nothing is reported of this source, beside the station's quiet-hours.", hours(),
                example=["astronomical-dusk - astronomical-dawn"])))
    listen_hours: Spans = field(default=(), metadata=set_by(
        Setting("listen-hours", "When something is reported of this source; default: always.", hours(),
                example=["civil-dawn-01:00 - sunrise+03:00"])))
    day: Spans = field(default=(), metadata=set_by(
        Setting("day", "What day-list and night-list call day; default: from sunrise to sunset.", hours(),
                example=["civil-dawn - civil-dusk"])))
    day_list: Path | None = field(default=None, metadata=set_by(
        Setting("day-list", "Species that are reported of this source by day, as in species-list; default: all.",
                checks.path(), example="diurnal.txt")))
    night_list: Path | None = field(default=None, metadata=set_by(
        Setting("night-list", "Species that are reported of this source by night; default: all.",
                checks.path(), example="nocturnal.txt")))

    @property
    def asks_the_sun(self) -> bool:
        """Whether it needs to know where it is."""
        by_sun = asks_the_sun((*self.quiet_hours, *self.listen_hours, *self.day))
        return by_sun or (not self.day and (self.day_list or self.night_list) is not None)


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """What is a detection, and with what model.

    threshold: lowest score that counts; thresholds, thresholds_file: of species, by eBird code or scientific name.
    quiet_hours: (start, end), by the clock or the sun; may cross midnight.
    latitude, longitude: degrees, both or neither.
    """

    bundle: Path = field(metadata=set_by(
        Setting("bundle", "The bundle to listen with.", checks.path(),
                Option("--bundle", "BUNDLE", commands=BOTH, variable="EDGEBIRD_BUNDLE"),
                note="a folder that `edgebird export` wrote", example="/opt/edgebird/birds", active=True,
                missing="no model: give --bundle BUNDLE, or bundle = in --config FILE", fixed=True)))
    runtime: str = field(default="auto", metadata=set_by(
        Setting("runtime", "The engine: auto, or one that `doctor` lists; default {default}.",
                checks.choice(_runtimes), Option("--runtime", "NAME", commands=BOTH), fixed=True)))
    precision: str = field(default="fp32", metadata=set_by(
        Setting("precision", f"Which graph: {PRECISIONS}; default {{default}}.",
                checks.choice(_precisions), Option("--precision", "P", commands=BOTH), fixed=True)))
    threads: int | None = field(default=None, metadata=set_by(
        Setting("threads", "CPU threads of the engine; default: all cores.", checks.whole(1),
                Option("--threads", "N", commands=BOTH, minimum=1), example=3, fixed=True)))
    cascade: bool = field(default=False, metadata=set_by(
        Setting("cascade", "Score by stages: most windows without birds are not scored in full (docs/cascade.md).",
                checks.boolean(), Option("--cascade", commands=BOTH), example=True, fixed=True)))
    cascade_audit: float = field(default=0.05, metadata=set_by(
        Setting("cascade-audit", "Share of the windows that a stage stops that is scored in full, default {default}.",
                checks.number(0, 1), Option("--cascade-audit", "X", commands=BOTH), example=0.1, fixed=True)))
    hop_s: float = field(default=HOP_S, metadata=set_by(
        Setting("hop", "Seconds between windows, default {default}; together with the window's length it sets how "
                "soon a bird can be reported.", checks.number(0.01, 60, "seconds"),
                Option("--hop", "S", commands=BOTH), note="seconds between windows: less is sooner and costs more",
                recordings=checks.number(0, 60, "seconds"), fixed=True)))
    threshold: float = field(default=THRESHOLD, metadata=set_by(
        Setting("threshold", "Lowest score that counts, default {default}; not a probability.",
                checks.number(0, 1), Option("--threshold", "X", REPORTS, DETECT),
                note="lowest score that counts, 0 to 1; a score is not a probability", active=True)))
    thresholds: Mapping[str, float] = field(default_factory=dict, metadata=set_by(
        Setting("thresholds", f"Lowest score that counts, default {THRESHOLD}; CODE=X for one species.",
                checks.scores(),
                Option("--threshold", "[CODE=]X", REPORTS, repeated=True, split=checks.split_thresholds),
                note="Other thresholds for single species, by eBird code or scientific name.",
                example={"comcuc": 0.5, "Turdus merula": 0.6})))
    thresholds_file: Path | None = field(default=None, metadata=set_by(
        Setting("thresholds-file", "Thresholds of single species: a file that `edgebird thresholds` wrote.",
                checks.path(), Option("--thresholds", "FILE.toml", REPORTS, BOTH), example="thresholds.toml")))
    min_windows: int = field(default=1, metadata=set_by(
        Setting("min-windows", "Consecutive windows that confirm a detection, default {default}.",
                checks.whole(1), Option("--min-windows", "N", REPORTS, BOTH), example=2, active=True)))
    species_list: Path | None = field(default=None, metadata=set_by(
        Setting("species-list", "Only these: a `Scientific name_Common name` or eBird code a line.",
                checks.path(), Option("--species-list", "FILE", REPORTS, BOTH), example="species.txt")))
    explain: bool = field(default=False, metadata=set_by(
        Setting("explain", "Also tell candidates that were rejected, with the reason (jsonl).",
                checks.boolean(), Option("--explain", panel=REPORTS, commands=BOTH), example=True)))
    quiet_hours: Spans = field(default=(), metadata=set_by(
        Setting("quiet-hours", "When nothing is reported, in local time or by the sun; may cross midnight.", hours(),
                Option("--quiet-hours", "HH:MM-HH:MM", REPORTS, repeated=True),
                note="local times in which nothing is reported; all is still heard and accounted for",
                example=["22:00-04:30"])))
    timezone: str | None = field(default=None, metadata=set_by(
        Setting("timezone", "Where names without an offset were recorded: UTC, local, +02:00, Europe/Berlin; "
                "default: UTC for AudioMoth names, else local.", checks.timezone(),
                Option("--timezone", "ZONE", REPORTS, BOTH),
                note="of the times in events; default: that of the computer", example="Europe/Berlin")))
    latitude: float | None = field(default=None, metadata=set_by(
        Setting("latitude", "Where it is heard: for the sun, a geographic model, clips and statistics; give both or "
                "neither.", checks.number(-90, 90, "degrees"),
                Option("--latitude", "DEG", REPORTS, BOTH), example=52.52, fixed=True)))
    longitude: float | None = field(default=None, metadata=set_by(
        Setting("longitude", "The same; give both or neither.", checks.number(-180, 180, "degrees"),
                Option("--longitude", "DEG", REPORTS, BOTH), example=13.41, fixed=True)))
    suppress: SuppressSettings | None = field(default=None, metadata=table(
        "suppress", SuppressSettings, optional=True, about="What silences others: a dog that barks is no owl."))
    place: PlaceSettings | None = field(default=None, metadata=table(
        "place", PlaceSettings, optional=True,
        about="What may be heard here this week: a rare bird takes more windows to be believed (docs/place.md)."))

    def __post_init__(self) -> None:
        if (self.latitude is None) != (self.longitude is None):
            raise UsageError("latitude and longitude belong together: give both or neither")
        if self.coordinates is None and asks_the_sun(self.quiet_hours):
            raise UsageError(f"quiet-hours by the sun: {NEEDS_PLACE}")
        if self.coordinates is None and self.place and self.place.geo:
            raise UsageError(f"geo {self.place.geo}: latitude and longitude are needed to ask a geographic model")

    @property
    def coordinates(self) -> tuple[float, float] | None:
        """Latitude and longitude in degrees."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """Which sound is kept, and how much of it. max_size, min_free: bytes."""

    folder: Path = field(metadata=set_by(
        Setting("folder", "Keep detections' sound.", checks.path(), Option("--clips", "DIR", CLIPS),
                example="/var/lib/edgebird/clips", active=True,
                missing="settings of clips, but no folder for them: give --clips DIR, or folder = in [clips]",
                fixed=True)))
    format: str = field(default="flac", metadata=set_by(
        Setting("format", "Of clips: flac or wav, default {default}.", checks.choice(lambda: ("flac", "wav")),
                Option("--clip-format", "flac|wav", CLIPS), fixed=True)))
    pre_s: float = field(default=3.0, metadata=set_by(
        Setting("pre", "Seconds before a detection, default {default}.", checks.number(0, 600, "seconds"),
                Option("--clip-pre", "S", CLIPS), fixed=True)))
    post_s: float = field(default=3.0, metadata=set_by(
        Setting("post", "Seconds after a detection, default {default}.", checks.number(0, 600, "seconds"),
                Option("--clip-post", "S", CLIPS), fixed=True)))
    spectrogram: bool = field(default=False, metadata=set_by(
        Setting("spectrogram", "A picture beside each clip.", checks.boolean(),
                Option("--spectrogram", panel=CLIPS), example=True, fixed=True)))
    max_age_days: float | None = field(default=None, metadata=set_by(
        Setting("max-age", "Delete clips that are older than so many days; default: never.",
                checks.number(0.01, unit="days"), Option("--max-age", "DAYS", CLIPS), note="days; default: for ever",
                example=90, active=True, fixed=True)))
    max_size: int | None = field(default=None, metadata=set_by(
        Setting("max-size", "Of all clips; the oldest go first; default: no limit.", checks.size(),
                Option("--max-size", "20GB", CLIPS), example="20GB", active=True, fixed=True)))
    min_free: int | None = field(default=None, metadata=set_by(
        Setting("min-free", "To leave free on the disk; default: nothing.", checks.size(),
                Option("--min-free", "2GB", CLIPS), example="2GB", active=True, fixed=True)))
    best_per_species: int = field(default=0, metadata=set_by(
        Setting("keep-best", "Best clips of each species that stay whatever their age, default {default}.",
                checks.whole(0), Option("--keep-best", "N", CLIPS), example=5, active=True, fixed=True)))


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where results go. format: of the lines on stdout, or of the files in `out`; None for what fits."""

    format: str | None = field(default=None, metadata=set_by(
        Setting("format", "jsonl, csv (BirdNET), raven, audacity or kaleidoscope; of recordings parquet too.",
                checks.choice(_formats), Option("--format", "FORMAT", FILES, BOTH),
                note="of the lines on stdout: jsonl, csv, raven, audacity, kaleidoscope", example="jsonl",
                recordings=checks.choice(_recording_formats), fixed=True)))
    out: Path | None = field(default=None, metadata=set_by(
        Setting("out", "A file per recording or source in this folder, not stdout.", checks.path(),
                Option("--out", "DIR", FILES, BOTH), note="instead: a file for each source in this folder",
                example="tables", recordings=checks.path(elsewhere=True), fixed=True)))
    time_columns: bool = field(default=False, metadata=set_by(
        Setting("time-columns", "Tables with the time of day of each detection.", checks.boolean(),
                Option("--time-columns", panel=FILES, commands=BOTH), example=True, fixed=True)))
    relative_paths: bool = field(default=False, metadata=set_by(
        Setting("relative-paths", "Paths in Raven tables relative to the table, or here on stdout.", checks.boolean(),
                Option("--relative-paths", panel=FILES, commands=BOTH), example=True, fixed=True)))
    log: Path | None = field(default=None, metadata=set_by(
        Setting("log", "All events, a file of JSON lines a day.", checks.path(), Option("--log", "DIR", FILES),
                example="/var/lib/edgebird/log", active=True, fixed=True)))
    csv: Path | None = field(default=None, metadata=set_by(
        Setting("csv", "Detections, appended.", checks.path(), Option("--csv", "FILE", FILES),
                example="/var/lib/edgebird/birds.csv", fixed=True)))
    database: Path | None = field(default=None, metadata=set_by(
        Setting("database", "All, in SQLite (docs/sinks.md).", checks.path(), Option("--database", "FILE", FILES),
                example="/var/lib/edgebird/birds.db", active=True, fixed=True)))
    log_max_age_days: float | None = field(default=None, metadata=set_by(
        Setting("log-max-age", "Delete days of the log that are older than so many days; default: never.",
                checks.number(1, unit="days"), Option("--log-max-age", "DAYS", FILES), example=365, fixed=True)))
    database_max_age_days: float | None = field(default=None, metadata=set_by(
        Setting("database-max-age", "Delete rows of the database that are older than so many days, but the first and "
                "last detection of each species; default: never.", checks.number(1, unit="days"),
                Option("--database-max-age", "DAYS", FILES), example=3650, fixed=True)))
    live_socket: Path | bool = field(default=True, metadata=set_by(
        Setting("live-socket", "Where programs of this user see what happens now: true, the default, is the database's "
                "path with .live behind it; false is nowhere.", checks.path_or_switch(),
                Option("--live-socket", "PATH|true|false", FILES),
                note="a socket on which programs of this user see what happens now; true: DATABASE.live",
                example="/run/edgebird/live", fixed=True)))
    require_mount: tuple[Path, ...] = field(default=(), metadata=set_by(
        Setting("require-mount", "Where a drive has to be mounted before anything is written there.", checks.folders(),
                Option("--require-mount", "DIR", FILES, repeated=True),
                note="drives that must be mounted before anything is written there", example=["/media/birds"],
                fixed=True)))
    clips: ClipSettings | None = field(default=None, metadata=table(
        "clips", ClipSettings, optional=True, about="The sound of every detection."))
    privacy: PrivacySettings | None = field(default=None, metadata=table(
        "privacy", PrivacySettings, optional=True, about="Where somebody speaks; it needs the extra `privacy`."))

    @property
    def live_path(self) -> Path | None:
        """Of the live socket, None if there is to be none."""
        if self.live_socket is True:
            return self.database and self.database.with_name(f"{self.database.name}.live")
        return self.live_socket or None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All that is written to."""
        clips = self.clips.folder if self.clips else None
        return tuple(path for path in (self.out, self.log, self.csv, self.database, clips) if path is not None)


@dataclass(frozen=True, slots=True)
class StationSettings:
    """A station. duration_s: None for ever."""

    sources: tuple[SourceSettings, ...]
    detection: DetectionSettings = field(metadata=table("", DetectionSettings))
    output: OutputSettings = field(metadata=table("output", OutputSettings))
    metrics: MetricsSettings | None = field(default=None, metadata=table(
        "metrics", MetricsSettings, optional=True, about="Figures for Prometheus (extra `metrics`)."))
    mqtt: MqttSettings | None = field(default=None, metadata=table(
        "mqtt", MqttSettings, optional=True, about="MQTT, where Home Assistant finds the station (extra `mqtt`)."))
    birdweather: BirdWeatherSettings | None = field(default=None, metadata=table(
        "birdweather", BirdWeatherSettings, optional=True, about="BirdWeather: for BirdNET alone, with [clips]."))
    alerts: tuple[AlertSettings, ...] = field(default=(), metadata={"fixed": "alert"})
    buffer_s: float = field(default=15.0, metadata=set_by(
        Setting("buffer", "Seconds of sound that may wait for the engine, default {default}; more than that is "
                "lost, and told.", checks.number(5, 3600, "seconds"), Option("--buffer", "S", SOURCES), fixed=True)))
    duration_s: float | None = field(default=None, metadata=set_by(
        Setting("duration", "Stop after so many seconds; default: never.", checks.number(0.1, unit="seconds"),
                Option("--duration", "S", SOURCES), example=3600, fixed=True)))
    stats_every_s: float = field(default=60.0, metadata=set_by(
        Setting("stats-every", "Seconds between `stats` events, default {default}.",
                checks.number(1, 86400, "seconds"), Option("--stats-every", "S", REPORTS), fixed=True)))

# fmt: on

ROWS = all_rows(StationSettings)
SOURCE_ROWS = own_rows(SourceSettings, "source")
ALERT_ROWS = own_rows(AlertSettings, "alert")
KINDS = tuple(row.setting.key for row in SOURCE_ROWS if row.field == "address")
