"""How much speech `[privacy]` would keep beside birds, and how many clips of birds alone it takes for voices.

    apt-get download pocketsphinx-testdata asterisk-core-sounds-en-wav    # and dpkg -x, and espeak-ng -w FILE.wav TEXT
    python -m edgebird.benchmarks.studies.voices SPEECH... --recordings export/data/recordings

SPEECH: folders of `.wav` files, and of `.raw` ones (16 bit, 16 kHz). Each sentence is mixed twice with birds at their
recorded level, with the demo's three that sing without a pause, and with one of the other recordings, at each level of
both where there is speech: that is what is within 25 dB of its loudest 32 ms. Clips of birds alone are of 11 s, one
every 5.5 s; the golden windows of the demo, of other recordings, are clips too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgebird.bundle import open_bundle
from edgebird.demo import BUNDLE, RECORDING
from edgebird.settings.privacy import PrivacySettings
from edgebird.sources import FileSource
from edgebird.types import FloatArray
from edgebird.voices import Voices

_RATE, _FRAME = 16000, 512
_LEVELS = (0, -5, -10, -15, -20)
_SPEECH_DB, _LEAST_S, _AROUND_S = 25.0, 0.5, 1.0
_CLIP_S, _STEP_S = 11.0, 5.5
_LONGEST_S = 20.0  # of a recording, to be one that sentences are mixed with
_NO_BIRDS = ("rain", "river", "snow", "thunder", "train", "wave", "wind", "amb_farm")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", nargs="+", type=Path, metavar="SPEECH")
    parser.add_argument("--recordings", type=Path, required=True, help="a folder of birds, and of weather")
    parser.add_argument("--most", type=int, default=60, help="sentences of a folder, default 60")
    parser.add_argument("--only", choices=("clips", "speech"), help="half of it: the detector is slow")
    parser.add_argument("--levels", type=int, nargs="*", default=_LEVELS, metavar="DB")
    given = parser.parse_args()
    defaults = PrivacySettings("mute")
    voices = Voices(defaults.threshold, defaults.margin_s)
    recordings = {path.stem: _sound(path) for path in [RECORDING, *sorted(given.recordings.glob("*.ogg"))]}
    speech = {folder: _sentences(folder, given.most) for folder in given.speech}
    if given.only != "speech":
        _measure_clips(recordings, voices)
    for level in given.levels if given.only != "clips" else ():
        _measure(level, speech, recordings, voices)


def _measure_clips(recordings: dict[str, FloatArray], voices: Voices) -> None:
    """Print how many clips without people are taken for voices."""
    print("| clips | of | flagged |\n|---|---|---|")
    for what, wanted in (("birds", True), ("other sounds", False)):
        clips = [
            (name, voices.flagged(clip, _RATE).any())
            for name, sound in recordings.items()
            if name.startswith(_NO_BIRDS) != wanted
            for clip in _clips(sound)
        ]
        _tell_clips(what, clips)
    bundle = open_bundle(BUNDLE)
    golden = zip(bundle.golden().names, bundle.golden().windows(), strict=True)
    _tell_clips(
        "golden windows", [(what, voices.flagged(window, bundle.card.sample_rate).any()) for what, window in golden]
    )


def _tell_clips(what: str, clips: Sequence[tuple[str, np.bool_]]) -> None:
    """Print how many clips are flagged, and of what they are."""
    print(f"| {what} | {len(clips)} | {sum(bool(flagged) for _, flagged in clips)} |", flush=True)
    print("flagged:", *sorted({name for name, flagged in clips if flagged}), flush=True)


def _measure(
    level: int, speech: dict[Path, list[FloatArray]], recordings: dict[str, FloatArray], voices: Voices
) -> None:
    """Print what is kept at a level, dB."""
    dense = recordings[RECORDING.stem]
    others = [
        sound
        for name, sound in recordings.items()
        if len(sound) > _LONGEST_S * _RATE and not name.startswith(_NO_BIRDS) and sound is not dense
    ]
    total = np.zeros((2, 2))
    for folder, sentences in speech.items():
        kept = np.zeros((2, 2))  # beside dense song, beside others; kept, all, in frames
        for number, said in enumerate(sentences):
            for which, song in enumerate((dense, others[number % len(others)])):
                mixed, spoken = _mixed(said, song, level, number)
                flagged = voices.flagged(mixed, _RATE)
                kept[which] += (spoken & ~flagged).sum(), spoken.sum()
        total += kept
        print(f"| {level} dB | {folder.name} | {_shares(kept)} |", flush=True)
    print(f"| {level} dB | all, {total[:, 1].sum() / 2 / _RATE:.0f} s | {_shares(total)} |", flush=True)


def _shares(kept: NDArray[np.float64]) -> str:
    dense, others = (f"{part:.1%}" for part in kept[:, 0] / kept[:, 1])
    return f"{dense} | {others} | {kept[:, 0].sum() / kept[:, 1].sum():.1%}"


def _mixed(said: FloatArray, song: FloatArray, level: int, number: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Birds with a sentence among them, float32 [n], and where there is speech."""
    around = round(_AROUND_S * _RATE)
    mixed: FloatArray = np.resize(np.roll(song, -number * _RATE), len(said) + 2 * around)
    frames = said[: len(said) // _FRAME * _FRAME].reshape(-1, _FRAME)
    loudness = np.sqrt((frames**2).mean(axis=1))
    active = np.repeat(loudness > loudness.max() * 10 ** (-_SPEECH_DB / 20), _FRAME)
    gain = 10 ** (level / 20) * np.sqrt((mixed**2).mean()) / np.sqrt((said[: len(active)][active] ** 2).mean())
    mixed[around : around + len(said)] += np.float32(gain) * said
    spoken = np.zeros(len(mixed), np.bool_)
    spoken[around : around + len(active)] = active
    return mixed, spoken


def _clips(sound: FloatArray) -> Iterator[FloatArray]:
    length, step = round(_CLIP_S * _RATE), round(_STEP_S * _RATE)
    for start in range(0, max(1, len(sound) - step), step):
        yield sound[start : start + length]


def _sentences(folder: Path, most: int) -> list[FloatArray]:
    """At most as many, from all over the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".wav", ".raw"))
    chosen = sorted({index * len(paths) // most for index in range(most)}) if paths else []
    found = (_sound(paths[index]) for index in chosen)
    return [said for said in found if len(said) >= _LEAST_S * _RATE]


def _sound(path: Path) -> FloatArray:
    if path.suffix == ".raw":
        said: FloatArray = np.fromfile(path, "<i2").astype(np.float32) / np.float32(32768)
        return said
    source = FileSource(path, _RATE, tell=lambda _level, _line: None)
    return np.concatenate([block.samples for block in source.blocks()])


if __name__ == "__main__":
    main()
