"""Sound of one place, made of real recordings: nights to fit a cascade to, and half hours with few birds or many.

    python -m edgebird.export.training.material PACKAGES material.npz
    python -m edgebird.export.training.soundscapes material.npz OUT

OUT/site has 150 recordings of eight minutes, a bird in two windows of five. OUT/scape_10.flac has half an hour with a
bird in one window of ten, and so on for other shares; where there is none, it is wind, rain, a river, waves, a factory,
animals and birds of no label, or silence. The noises are the place's: the nights have their first halves, the half
hours their second ones. Recordings in which birds sing all through are neither noise nor animals. The same birds
and animals are heard in all nights, as at a place; what they call there was trained on, what they call in the half
hours was kept back.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from edgebird.errors import EdgebirdError
from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.training.material import Take, TrainingMaterial, load_material
from edgebird.types import FloatArray

NIGHTS, NIGHT_S, SCAPE_S = 150, 480, 1800
SHARES = (0, 5, 10, 20, 50, 100)  # per cent of the windows with a bird
CHORUSES = ("CHE_01_20190101_163410", "amazon-rainforest", "day_temperate_gen_03")  # birds all through
_NIGHTLY = 40  # per cent
_LONG_S = 4.0  # a noise is a place's if it goes on for so long
_PIECE = 6 * WINDOW_SAMPLES
_FADE = SAMPLE_RATE // 2
_AROUND = round(0.3 * SAMPLE_RATE)  # of a call
_SILENT, _ANIMAL = 0.2, 0.15  # shares of pieces without noise, of windows with another animal


@dataclass(frozen=True, slots=True)
class PlaceSounds:
    """Parts of recordings, float32, 32 kHz. calls, animals: whole ones. noises: of the place."""

    calls: Sequence[FloatArray]
    animals: Sequence[FloatArray]
    noises: Sequence[FloatArray]


def sounds_of(material: TrainingMaterial, role: str, half: int) -> PlaceSounds:
    """Calls and animals of a role; halves of the noises of both."""
    calls = [
        _part(material, clip, span, _AROUND)
        for clip in material.of(role)
        for code in clip.calls
        for span in clip.calls[code]
    ]
    animals, noises = [], []
    for clip in material.clips:
        for span in clip.quiet if clip.name not in CHORUSES else ():
            part = _part(material, clip, span, 0)
            if len(part) >= 2 * _LONG_S * SAMPLE_RATE:
                noises.append(np.array_split(part, 2)[half])
            elif clip.role == role and not clip.name.startswith("made"):
                animals.append(part)
    return PlaceSounds(calls, animals, noises)


def _part(material: TrainingMaterial, clip: Take, span: tuple[int, int], around: int) -> FloatArray:
    """A span of a clip with so many samples around it, as far as there are some, at full scale."""
    start, stop = clip.start + max(0, span[0] - around), clip.start + min(clip.length, span[1] + around)
    part = material.audio[start:stop].astype(np.float32)
    scaled: FloatArray = part / max(float(np.abs(part).max()), 1.0)
    return scaled


def made(sounds: PlaceSounds, seconds: int, per_cent: int, random: Generator) -> NDArray[np.int16]:
    """So many seconds, with a bird in so many of its windows. Raises EdgebirdError where there is no call for them."""
    size = seconds * SAMPLE_RATE
    audio = _background(sounds.noises, size, random)
    windows = size // WINDOW_SAMPLES
    if per_cent and not sounds.calls:
        raise EdgebirdError("no call for the birds")
    birds = set(random.permutation(windows)[: round(windows * per_cent / 100)].tolist())
    for window in range(windows):
        kind = sounds.calls if window in birds else sounds.animals if random.random() < _ANIMAL else ()
        if len(kind):
            _add(audio, kind[int(random.integers(len(kind)))], window * WINDOW_SAMPLES, random)
    dither = random.uniform(-1, 1, size)
    return np.clip(np.round(audio * 32767 + dither), -32768, 32767).astype(np.int16)


def _background(noises: Sequence[FloatArray], size: int, random: Generator) -> FloatArray:
    """Noises of the place one after the other, each at another level; now and then none."""
    audio = np.zeros(size + _FADE, np.float32)
    fade = np.linspace(0, 1, _FADE, dtype=np.float32)
    for start in range(0, size, _PIECE):
        if random.random() < _SILENT:
            continue
        noise = noises[int(random.integers(len(noises)))]
        length = min(_PIECE + _FADE, len(audio) - start)
        piece = np.roll(np.resize(noise, max(length, len(noise))), -int(random.integers(len(noise))))[:length].copy()
        piece *= 10 ** (-random.uniform(25, 45) / 20) / max(float(np.sqrt(np.square(piece).mean())), 1e-6)
        piece[:_FADE] *= fade
        piece[-_FADE:] *= fade[::-1]
        audio[start : start + length] += piece
    return audio[:size]


def _add(audio: FloatArray, sound: FloatArray, start: int, random: Generator) -> None:
    """A sound anywhere in a window; of a longer one a part."""
    if len(sound) > WINDOW_SAMPLES:
        begin = int(random.integers(len(sound) - WINDOW_SAMPLES))
        sound = sound[begin : begin + WINDOW_SAMPLES]
    at = start + int(random.integers(WINDOW_SAMPLES - len(sound) + 1))
    audio[at : at + len(sound)] += sound * np.float32(10 ** (-random.uniform(3, 20) / 20))


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("material", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    material = load_material(args.material)
    trained, kept_back = sounds_of(material, "train", 0), sounds_of(material, "test", 1)
    (args.out / "site").mkdir(parents=True, exist_ok=True)
    for night in range(NIGHTS):
        audio = made(trained, NIGHT_S, _NIGHTLY, np.random.default_rng(night))
        soundfile.write(args.out / "site" / f"night_{night:03}.flac", audio, SAMPLE_RATE)
    for share in SHARES:
        audio = made(kept_back, SCAPE_S, share, np.random.default_rng(1000))
        soundfile.write(args.out / f"scape_{share}.flac", audio, SAMPLE_RATE)
    print(f"{len(trained.calls)} and {len(kept_back.calls)} calls, {len(trained.noises)} noises")


if __name__ == "__main__":
    main()
