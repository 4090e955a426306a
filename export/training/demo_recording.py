"""Make the recording that `edgebird demo` listens to, of audio that was not trained on.

    python -m edgebird.export.training.demo_recording DIR OUT

DIR holds the recordings. Writes OUT/three_birds.flac and OUT/calls.csv (OUT is edgebird/demo/data): five stretches one
after the other, joined by short cross-fades, each at a level that can be heard.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from edgebird.export.families.folds.experiments import SAMPLE_RATE
from edgebird.export.training.recordings import RECORDINGS

JOIN_S = 0.25


@dataclass(frozen=True)
class Call:
    """A bird that is heard from `start` to `end` (seconds of the recording); code "" for one of no label.

    certain: False where nobody can tell whether it is that bird.
    """

    code: str
    name: str
    start: float
    end: float
    note: str = ""
    certain: bool = True


@dataclass(frozen=True)
class Stretch:
    """A part of a recording (seconds) at a peak (of full scale), and who is heard."""

    recording: str
    start: float
    end: float
    peak: float
    calls: tuple[Call, ...]


STRETCHES = (
    Stretch("cuckoo 04", 0.0, 9.35, 0.02, (
        Call("comcuc", "Common Cuckoo", 0.2, 8.85),
        Call("eurbla", "Eurasian Blackbird", 0.0, 8.0, "faint whistles of a thrush", certain=False),
    )),
    Stretch("great tit SW83-0418_04-78", 0.0, 4.16, 0.04, (
        Call("", "Great Tit", 0.2, 4.0, "not one of this model's birds"),
    )),
    Stretch("yellowthroat, second song", 0.0, 3.0, 0.2, (
        Call("comyel", "Common Yellowthroat", 0.4, 2.55, "its first song was trained on"),
    )),
    Stretch("blackbird 031400", 12.0, 19.3, 0.12, (Call("eurbla", "Eurasian Blackbird", 14.3, 16.7),)),
    Stretch("blackbird 031500", 9.2, 16.1, 0.12, (Call("eurbla", "Eurasian Blackbird", 11.4, 13.5),)),
)  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make the demo's recording.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the recordings, as fetched")
    parser.add_argument("out", type=Path, metavar="OUT")
    args = parser.parse_args()
    by_name = {recording.name: recording for recording in RECORDINGS}
    join = round(JOIN_S * SAMPLE_RATE)
    ramp = np.linspace(0, 1, join, dtype=np.float32)
    audio = np.zeros(join, np.float32)
    rows = []
    for stretch in STRETCHES:
        source = by_name[stretch.recording].read(args.folder)
        piece = source[round(stretch.start * SAMPLE_RATE) : round(stretch.end * SAMPLE_RATE)]
        piece = piece * (stretch.peak / np.abs(piece).max())
        piece[:join] *= ramp
        piece[-join:] *= ramp[::-1]
        begins = (len(audio) - join) / SAMPLE_RATE - stretch.start
        audio[-join:] += piece[:join]
        audio = np.concatenate([audio, piece[join:]])
        for call in stretch.calls:
            start, end = (max(0.0, round(begins + t, 1)) for t in (call.start, call.end))
            rows.append([start, end, call.code, call.name, "yes" if call.certain else "no", call.note])
    soundfile.write(args.out / "three_birds.flac", audio, SAMPLE_RATE, subtype="PCM_16")
    with (args.out / "calls.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start_s", "end_s", "code", "common_name", "certain", "note"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
