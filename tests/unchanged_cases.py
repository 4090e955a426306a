"""The commands whose outputs are kept, and the files that they run on; see test_outputs_unchanged.py."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import edgebird
from tests.stored_runtime import CLASSES, RATE, UNSCORABLE, WINDOW_S, scores_of, sound

LABELS = (
    ("comcuc", "Cuculus canorus", "Common Cuckoo"),
    ("eurwre1", "Troglodytes troglodytes", "Eurasian Wren"),
    ("spofly1", "Muscicapa striata", "Grauschnäpper"),
    ("x-engine", "Noise_Engine", 'Engine, "idle"'),
)
NEAR = 4915 / 16384  # the last score below 0.3; the next is above it
MEADOW = (
    (0, 0.9, 0, 2.5),  # half a window: one alone
    (0, 0.55, 10, 15),
    (1, NEAR + 1 / 16384, 5, 10),
    (2, NEAR, 5, 10),
    (3, 0.8, 12.5, 22.2),
)
DAWN = (
    (1, 0.7, 5, 10),
    (2, 0.4, 5, 10),
    (0, 0.25, 7.5, 12.5),
    (0, 0.9, 17.5, 20),
    (1, 0.35, 20, 25),
    (1, 0.62, 25, 30),
    (3, 1.0, 28, 30),
)
AUDIO = "recordings/20230524_152950.WAV"  # ten seconds before half past three


@dataclass(frozen=True)
class Command:
    """A command line. stdin: a file, and for how many seconds it stays open; terminal: see `command_runner.Job`."""

    line: str
    stdin: str = ""
    hold_s: float = 0.0
    terminal: str = ""

    @property
    def arguments(self) -> list[str]:
        """With `@` written out."""
        return shlex.split(self.line.replace(" @", " --bundle birds --runtime stored"))

    @property
    def sources(self) -> tuple[str, ...]:
        """Those of a station, which tell things at the same time; of other commands none."""
        words = self.arguments
        if words[0] != "listen" or "--help" in words or self.terminal:
            return ()
        files = [file for option, file in pairwise(words) if option == "--file"]
        return tuple(files) or ((AUDIO, "dawn.wav") if "station.toml" in words else ("stdin",))


def write_inputs(folder: Path) -> None:
    """Write recordings, bundles and settings."""
    _write_bundle(folder / "birds")
    _write_bundle(folder / "unproven", golden=None)
    _write_bundle(folder / "wrong", golden=0.25)
    _write_bundle(folder / "coupled", db_floor="batch")
    _write_bundle(folder / "edited")
    card = folder / "edited/card.json"
    card.write_text(card.read_text(encoding="utf-8").replace("Cuckoo", "Gowk"), encoding="utf-8")
    _write_recordings(folder)
    for name, text in (*SETTINGS.items(), *SPECIES.items()):
        (folder / name).write_text(text, encoding="utf-8")


def _write_recordings(folder: Path) -> None:
    (folder / "recordings/pond").mkdir(parents=True)
    (folder / "nothing").mkdir()
    (folder / "again").mkdir()
    meadow, dawn = sound(22.2, MEADOW), sound(30, DAWN)
    _write(folder / AUDIO, meadow)
    _write(folder / "dawn.wav", dawn)
    _write(folder / "again/dawn.wav", dawn)
    _write(folder / "recordings/pond/2023-06-01T21-00-00+0200 dusk.flac", np.stack([dawn, dawn], axis=1))
    _write(folder / "recordings/pond/REC_20230524_043000.wav", sound(12, [(2, 0.5, 2.5, 7.5), (0, 0.31, 2.5, 12)]))
    _write(folder / "recordings/pond/wald, süd.wav", sound(10.3, [(1, 0.2, 0, 10.3)]))
    _write(folder / "recordings/empty.wav", np.zeros(0, np.int16))
    _write(folder / "short.wav", sound(0.3))
    _write(folder / "long.flac", sound(80, [(0, 0.5, 2.5, 77.5), (3, 0.45, 60, 80)]))
    nan = dawn.astype(np.float32) / 32768
    nan[17 * RATE] = np.nan
    soundfile.write(folder / "nan.wav", nan, RATE, subtype="FLOAT")
    poison = sound(10, [(1, 0.6, 0, 5)])
    poison[9 * RATE] = UNSCORABLE  # in the last window alone, whatever is scored with it
    _write(folder / "poison.wav", poison)
    (folder / "recordings/broken.wav").write_text("not sound", encoding="utf-8")
    (folder / "recordings/notes.txt").write_text("the wind was strong", encoding="utf-8")
    whole = (folder / AUDIO).read_bytes()
    (folder / "recordings/cut.wav").write_bytes(whole[: 44 + 2 * 12 * RATE])
    (folder / "meadow.pcm").write_bytes(sound(22.2, MEADOW).astype("<i2").tobytes())
    silent = np.concatenate([meadow, np.zeros(8 * RATE, np.int16), sound(8, [(2, 0.66, 0, 5)])])
    (folder / "silent.pcm").write_bytes(np.stack([silent // 2, silent], axis=1).astype("<i2").tobytes())


def _write(path: Path, samples: Any) -> None:
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def _write_bundle(folder: Path, golden: float | None = 0.0, db_floor: str = "window") -> None:
    """A bundle by hand, as docs/bundle.md says. golden: how wrong its golden scores are."""
    folder.mkdir()
    window = WINDOW_S * RATE
    (folder / "model.fp32.onnx").write_bytes(b"scores are stored in the sound")
    card = {
        "format": 1,
        "sample_rate": RATE,
        "window_samples": window,
        "db_floor": db_floor,
        "input": {"name": "audio", "shape": ["batch", window]},
        "output": {"name": "scores", "shape": ["batch", CLASSES]},
        "precisions": {"fp32": {"file": "model.fp32.onnx", "sha256": "", "opset": 17}},
        "labels": [dict(zip(("code", "scientific_name", "common_name"), label, strict=True)) for label in LABELS],
    }
    if golden is not None:
        audio = np.stack([sound(WINDOW_S, [(label, 0.8 - 0.1 * label, 0, 5)]) for label in range(CLASSES)])
        scores = scores_of(audio / 32768).astype(np.float64)
        scores[2, 1] += golden
        np.savez_compressed(folder / "golden.npz", audio=audio, scores=scores, names=[label[2] for label in LABELS])
        card["golden"] = {"file": "golden.npz", "sha256": ""}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    edgebird.seal(folder)


SPECIES = {
    "species.txt": "# heard here\ncomcuc\nTroglodytes troglodytes_Zaunkönig\n\nx-engine\nParus major_Great Tit\n",
    "strangers.txt": "Parus major_Great Tit\n",
}

# ------------------------------------------------------------------------------------------------- a whole station
STATION = (
    f"listen --file '{AUDIO}' --file dawn.wav --bundle birds --runtime stored --threads 1 --hop 1.25 --threshold 0.28 "
    "--threshold comcuc=0.4 --threshold 'Muscicapa striata=0.35' --min-windows 2 --species-list species.txt --explain "
    "--quiet-hours 15:29-15:30 --quiet-hours 23:00-01:30 --timezone +02:00 --latitude 48.1 --longitude 11.5 "
    "--stats-every 3600 --buffer 30 --log log --csv birds.csv --database birds.sqlite --clips clips --clip-format wav "
    "--clip-pre 1 --clip-post 0.5 --spectrogram --max-age 30 --max-size 1GB --keep-best 2"
)
_STATION = f"""\
bundle = "birds"
runtime = "stored"
threads = 1
hop = 1.25
threshold = 0.28
min-windows = 2
species-list = "species.txt"
explain = true
quiet-hours = ["15:29-15:30", "23:00-01:30"]
timezone = "+02:00"
latitude = 48.1
longitude = 11.5
stats-every = 3600
buffer = 30

[thresholds]
comcuc = 0.4
"Muscicapa striata" = 0.35

[output]
log = "log"
csv = "birds.csv"
database = "birds.sqlite"

[clips]
folder = "clips"
format = "wav"
pre = 1
post = 0.5
spectrogram = true
max-age = 30
max-size = "1GB"
keep-best = 2

[[source]]
file = "{AUDIO}"

[[source]]
file = "dawn.wav"
"""
_LEAST = 'bundle = "birds"\nruntime = "stored"\n'
_DAWN = '\n[[source]]\nfile = "dawn.wav"\n'
WRONG_SETTINGS = {
    "key": f"{_LEAST}treshold = 0.5\n{_DAWN}",
    "strange-key": f"{_LEAST}volume = 11\n{_DAWN}",
    "key-of-a-table": f"{_LEAST}max-age = 3\n{_DAWN}",
    "key-in-a-table": f'{_LEAST}\n[clips]\nfolder = "clips"\nquality = 3\n{_DAWN}',
    "key-of-a-source": f"{_LEAST}{_DAWN}volume = 11\n",
    "value": f"{_LEAST}hop = 0\n{_DAWN}",
    "type": f'{_LEAST}explain = "yes"\n{_DAWN}',
    "size": f'{_LEAST}\n[clips]\nfolder = "clips"\nmax-size = "much"\n{_DAWN}',
    "hours": f'{_LEAST}quiet-hours = ["22-4"]\n{_DAWN}',
    "zone": f'{_LEAST}timezone = "Mars/Olympus"\n{_DAWN}',
    "thresholds": f"{_LEAST}\n[thresholds]\ncomcuc = 2\n{_DAWN}",
    "species": f"{_LEAST}\n[thresholds]\ncomcuk = 0.5\n{_DAWN}",
    "runtime": f'bundle = "birds"\nruntime = "warp"\n{_DAWN}',
    "format": f'{_LEAST}\n[output]\nformat = "xls"\n{_DAWN}',
    "names": f'{_LEAST}{_DAWN}name = "a"\n{_DAWN}name = "a"\n',
    "name": f'{_LEAST}{_DAWN}name = "a b"\n',
    "kinds": f"{_LEAST}{_DAWN}mic = 1\n",
    "source": f"{_LEAST}source = 3\n",
    "transport": f'{_LEAST}{_DAWN}transport = "tcp"\n',
    "no-source": _LEAST,
    "no-bundle": _DAWN,
    "latitude": f"{_LEAST}latitude = 48.1\n{_DAWN}",
    "no-clips-folder": f"{_LEAST}\n[clips]\npre = 1\n{_DAWN}",
    "no-toml": "bundle =\n",
}
SETTINGS = {"station.toml": _STATION, **{f"wrong-{name}.toml": text for name, text in WRONG_SETTINGS.items()}}

# -------------------------------------------------------------------------------------------------------- all cases
_FORMATS = ("jsonl", "csv", "raven", "audacity", "kaleidoscope")
_SEVERAL = ("jsonl", "csv", "raven", "kaleidoscope")
_TWO = f"listen --file '{AUDIO}' --file dawn.wav @"
_PCM = "listen --stdin s16le:8000:1 @"
_WRONG_DETECT = (
    "gone.wav nothing @",
    "dawn.wav --bundle nowhere",
    "dawn.wav --bundle recordings",
    "dawn.wav --bundle edited --runtime stored",
    "dawn.wav --bundle birds --runtime warp",
    "dawn.wav @ --precision fp16",
    "dawn.wav @ --format xls",
    "dawn.wav @ --hop 6",
    "dawn.wav @ --threshold 1.5",
    "dawn.wav @ --min-windows 0",
    "dawn.wav @ --timezone Mars/Olympus",
    "dawn.wav @ --species-list gone.txt",
    "dawn.wav @ --species-list strangers.txt",
    "dawn.wav @ --explain --format csv",
    "dawn.wav @ --explain --submission scores.csv",
    "dawn.wav @ --submission scores.csv --hop 1",
    "dawn.wav short.wav @ --format audacity",
    "dawn.wav @ --out short.wav",
    "dawn.wav @ --submission recordings",
    "dawn.wav again/dawn.wav @ --out out",
    "dawn.wav again/dawn.wav @ --submission scores.csv",
)
_WRONG_LISTEN = (
    "--bundle birds",
    "--file dawn.wav",
    "--file dawn.wav --bundle nowhere",
    "--file dawn.wav --bundle coupled --runtime stored",
    "--file dawn.wav --bundle birds --runtime warp",
    "--file dawn.wav @ --precision fp12",
    "--file dawn.wav @ --format xls",
    "--file dawn.wav @ --explain --format csv",
    "--file dawn.wav --file short.wav @ --format audacity",
    "--file dawn.wav --file again/dawn.wav @ --out out",
    "--file gone.wav @",
    "--file recordings/broken.wav @",
    "--file '' @",
    "--stdin mp3 @",
    "--stdin s8:8000:1 @",
    "--stdin s16le:8000:1 --channel 2 @",
    "--url 'not a url' @",
    "--url a=rtsp://host/x --url a=rtsp://host/y @",
    "--url 'rtsp://host/${EDGEBIRD_NO_SUCH}' @",
    "--url rtsp://host/x --transport pigeon @",
    "--device 'a=x' --device 'a=y' @",
    "--file dawn.wav @ --hop 61",
    "--file dawn.wav @ --hop 6",
    "--file dawn.wav @ --threshold high",
    "--file dawn.wav @ --threshold comcuk=0.5",
    "--file dawn.wav @ --threshold comcuc=1.5",
    "--file dawn.wav @ --min-windows 0",
    "--file dawn.wav @ --quiet-hours 22-4",
    "--file dawn.wav @ --timezone Mars/Olympus",
    "--file dawn.wav @ --latitude 48.1",
    "--file dawn.wav @ --latitude 91 --longitude 0",
    "--file dawn.wav @ --clip-pre 1",
    "--file dawn.wav @ --clips clips --clip-format mp3",
    "--file dawn.wav @ --clips clips --max-size much",
    "--file dawn.wav @ --buffer 1",
    "--file dawn.wav @ --log dawn.wav",
    "--file dawn.wav @ --csv species.txt",
    "--file dawn.wav @ --database species.txt",
    "--file dawn.wav @ --clips dawn.wav",
    "--config gone.toml",
)
CASES: dict[str, list[Command]] = {
    **{f"detect-{name}": [Command(f"detect recordings long.flac short.wav @ --format {name}")] for name in _SEVERAL},
    "detect-audacity": [Command("detect dawn.wav @ --format audacity")],
    **{f"detect-out-{name}": [Command(f"detect recordings dawn.wav @ --out out --format {name}")] for name in _FORMATS},
    "detect-submission": [
        Command("detect recordings dawn.wav nan.wav @ --submission kept/scores.csv"),
        Command("detect dawn.wav short.wav @ --submission scores.csv --format csv"),
        Command("detect dawn.wav recordings/pond @ --submission scores.csv --out out --explain"),
    ],
    "detect-explain": [
        Command("detect recordings/pond dawn.wav @ --explain"),
        Command("detect recordings/pond dawn.wav @ --explain --min-windows 2 --species-list species.txt"),
        Command("detect dawn.wav @ --explain --format jsonl --out out --min-windows 3"),
    ],
    "detect-options": [
        Command("detect dawn.wav @ --hop 1 --threshold 0.25 --format csv"),
        Command("detect dawn.wav @ --hop 5 --threshold 0.25 --format csv"),
        Command("detect recordings @ --timezone +02:00 --species-list species.txt"),
        Command("detect recordings/pond @ --timezone UTC --min-windows 2"),
        Command("detect dawn.wav recordings/broken.wav short.wav @ -q --format csv"),
        Command("detect dawn.wav dawn.wav recordings/cut.wav nan.wav @ --format csv"),
        Command("detect poison.wav @ --format csv --threshold 0.9"),
        Command("detect poison.wav @ --out out"),
    ],
    "detect-terminal": [
        Command("detect recordings/pond dawn.wav short.wav @", terminal="stdout"),
        Command("detect recordings/pond dawn.wav recordings/broken.wav @", terminal="both"),
        Command("detect dawn.wav @ --format csv", terminal="both"),
    ],
    **{f"listen-{name}": [Command(f"{_TWO} --format {name}")] for name in _SEVERAL},
    "listen-audacity": [Command("listen --file dawn.wav @ --format audacity")],
    **{f"listen-out-{name}": [Command(f"{_TWO} --out out --format {name}")] for name in _FORMATS},
    **{f"listen-stdin-{name}": [Command(f"{_PCM} --format {name}", "meadow.pcm")] for name in _FORMATS},
    "listen-stdin-kept": [
        Command("listen --stdin s16le:8000:2 --channel 2 @ --log log --csv birds.csv", "silent.pcm"),
        Command(f"{_PCM} --clips clips --database birds.sqlite --out out", "meadow.pcm"),
        Command(f"{_PCM} --stats-every 1 --latitude 48.1 --longitude 11.5", "meadow.pcm", hold_s=1.5),
    ],
    "listen-kept": [Command(STATION)],
    "listen-options": [
        Command("listen --file dawn.wav @ --explain --min-windows 2 --hop 1"),
        Command("listen --file dawn.wav --file nan.wav --file recordings/cut.wav @ --format csv"),
        Command("listen --file poison.wav @ --log log --csv birds.csv --database birds.sqlite"),
        Command("listen --file recordings/pond/REC_20230524_043000.wav @ --clips clips --timezone UTC -q"),
        Command("listen --config station.toml --threshold comcuc=0.2 --min-windows 1 --explain --log other"),
        Command("listen --file short.wav --realtime @"),
    ],
    "listen-terminal": [Command("listen --file dawn.wav @", terminal="stdout")],
    "verify": [
        Command("verify birds --runtime stored"),
        Command("verify birds --runtime stored --json"),
        Command("verify wrong --runtime stored"),
        Command("verify wrong --runtime stored --json"),
        Command("verify unproven --runtime stored"),
        Command("verify birds --runtime stored --precision fp16"),
        Command("verify edited --runtime stored"),
    ],
    "wrong-detect": [Command(f"detect {line}") for line in _WRONG_DETECT],
    "wrong-listen": [Command(f"listen {line}") for line in _WRONG_LISTEN],
    "wrong-settings": [Command(f"listen --config wrong-{name}.toml") for name in WRONG_SETTINGS],
    "help": [Command(f"{name} --help") for name in ("detect", "listen", "verify")],
}
