"""Scenes to train on, made in batches by torch where the training runs, of recordings that lie there as one tensor.

A scene is a window with up to two stretches of known birds and up to three of other sounds, each at another speed,
through another microphone and room, at another level, over noise. What is drawn for step n depends on the seed and n
alone, so that a training goes on where it was stopped.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.training.material import CODES, SPECIES, TrainingMaterial
from edgebird.types import FloatArray

_PADDED = 180_000  # a window and a room's echo; a fast length for the Fourier transform
_TAPER = 640
_ROOM = 16_000
_KNOTS = np.geomspace(60, SAMPLE_RATE / 2, 7)  # Hz, of a microphone's response
_PLACE, _MICROPHONE, _COLUMNS = 4, 8, 10 + len(_KNOTS)  # of a sound's row


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """What is drawn for a batch of scenes; rows are of sounds or of scenes.

    sounds: float64, columns as `Drawer.place` says. noise: level, slope, microphone. gusts: level at 9 times.
    ends: from and to which sample a scene is heard, its peak, its offset, whether it is rounded to 16 bit.
    heard and counts: [scenes, labels]; counts is 0 where nobody can tell.
    """

    sounds: NDArray[np.float64]
    noise: FloatArray
    gusts: FloatArray
    ends: FloatArray
    heard: FloatArray
    counts: FloatArray


class Drawer:
    """Draws scenes of the clips of a role."""

    def __init__(self, material: TrainingMaterial, role: str, seed: int) -> None:
        clips = material.of(role)
        self._seed = seed
        self._callers = [[clip for clip in clips if code in clip.calls] for code in CODES]
        self._labels = [index for index, callers in enumerate(self._callers) if callers]
        self._quiet = [(clip, span) for clip in clips for span in clip.quiet]

    def draw(self, step: int, size: int) -> Draw:
        """The scenes of a step."""
        random = np.random.default_rng((self._seed, step))
        seconds = np.zeros((size, len(CODES)), np.float32)
        unknown = np.zeros((size, len(CODES)), bool)
        ends = np.array([_ends(random) for _ in range(size)], np.float32)
        sounds: list[tuple[float, ...]] = []
        for scene in range(size):
            for _ in range(_pick(random, 0.35, 0.8)):
                self._call(random, sounds, scene, (seconds[scene], unknown[scene], ends[scene]))
            sounds += [self._other(random, scene) for _ in range(_pick(random, 0.3, 0.65, 0.9))]
        noise = np.array([(*_colour(random), *_microphone(random)) for _ in range(size)], np.float32)
        gusts = random.uniform(0.1, 1.0, (size, 9)) ** (random.random((size, 1)) < 0.3)
        heard = seconds >= np.array([species.heard_s for species in SPECIES], np.float32)
        counts = heard | ((seconds == 0) & ~unknown)
        table = np.array(sounds, np.float64).reshape(len(sounds), _COLUMNS)
        return Draw(table, noise, gusts.astype(np.float32), ends, heard.astype(np.float32), counts.astype(np.float32))

    def _other(self, random: Generator, scene: int) -> tuple[float, ...]:
        """A sound of no label; now and then a known call at half or twice its pitch, which is no longer that bird's."""
        if random.random() < 0.85:
            clip, (begin, end) = self._quiet[random.integers(len(self._quiet))]
            speed = random.uniform(0.8, 1.25)
        else:
            callers = self._callers[self._labels[random.integers(len(self._labels))]]
            clip = callers[random.integers(len(callers))]
            spans = next(iter(clip.calls.values()))
            begin, end = spans[random.integers(len(spans))]
            speed = random.uniform(0.45, 0.62) if random.random() < 0.5 else random.uniform(1.6, 2.2)
        length = min(end - begin, int(random.uniform(0.5, 5.0) * SAMPLE_RATE))
        start = begin + int(random.integers(end - begin - length + 1))
        return _place(random, scene, (clip.start + start, length, speed), -random.uniform(0, 35))

    def _call(
        self,
        random: Generator,
        sounds: list[tuple[float, ...]],
        scene: int,
        told: tuple[FloatArray, NDArray[np.bool_], FloatArray],
    ) -> None:
        """Up to five seconds around a call. told: of the scene, its labels' seconds and unknown ones, and its ends."""
        label = self._labels[random.integers(len(self._labels))]
        clip = self._callers[label][random.integers(len(self._callers[label]))]
        spans = clip.calls[CODES[label]]
        begin, end = spans[random.integers(len(spans))]
        length = int(random.uniform(1.0, 5.0) * SAMPLE_RATE)
        if end - begin > length:  # a long song: any part of it
            start = int(random.integers(begin, end - length + 1))
        else:
            start = int(random.integers(max(0, end - length), begin + 1))
        length = min(length, clip.length - start)
        speed = random.uniform(0.93, 1.07)
        sounds.append(_place(random, scene, (clip.start + start, length, speed), -random.uniform(0, 30)))
        place = sounds[-1][_PLACE]
        seconds, unknown, ends = told
        for code, calls in clip.calls.items():
            for b, e in calls:
                first = place + (max(b, start) - start) / speed
                last = place + (min(e, start + length) - start) / speed
                seconds[CODES.index(code)] += max(0.0, min(last, ends[1]) - max(first, ends[0])) / SAMPLE_RATE
        for code in clip.unknown:
            unknown[CODES.index(code)] = True


class SceneMixer:
    """Makes the audio of scenes on a device, on which the recordings lie."""

    def __init__(self, material: TrainingMaterial, seed: int, device: torch.device) -> None:
        self._seed, self._device = seed, device
        self._audio = torch.from_numpy(material.audio).to(device)
        hertz = np.linspace(0, SAMPLE_RATE / 2, _PADDED // 2 + 1)
        basis = [np.interp(np.log(hertz + 1), np.log(_KNOTS), row) for row in np.eye(len(_KNOTS))]
        self._hertz, self._knots = self._there(hertz), self._there(np.array(basis))

    def mix(self, step: int, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Audio [size, 160000], heard and counts [size, labels], float32."""
        generator = torch.Generator(self._device).manual_seed((self._seed << 32) + step)
        mix = self._noise(draw, generator)
        if len(draw.sounds):
            table = torch.from_numpy(draw.sounds).to(self._device)
            mix.index_add_(0, table[:, 0].long(), self._sounds(table, generator))
        heard_from, heard_to, peak, offset, rounded = self._there(draw.ends).T[:, :, None]
        time = torch.arange(WINDOW_SAMPLES, device=self._device)
        mix = mix * ((time >= heard_from) & (time < heard_to))
        mix = mix / mix.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) * peak + offset
        mix = torch.where(rounded > 0, torch.round(mix * 32768) / 32768, mix).clamp(-1, 1)
        return mix, self._there(draw.heard), self._there(draw.counts)

    def _there(self, values: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)

    def _sounds(self, table: Tensor, generator: torch.Generator) -> Tensor:
        """[sounds, 160000]: each at its place in its scene."""
        _scene, source, length, speed, place, amplitude, room, wet = table[:, :_MICROPHONE].T[:, :, None]
        time = torch.arange(_PADDED, device=self._device)
        at = (time - place) * speed
        inside = (at >= 0) & (at < length - 1) & (time < WINDOW_SAMPLES)
        at = torch.where(inside, at, 0.0)
        whole = at.floor()
        share = (at - whole).float()
        index = (source + whole).long()
        first, second = self._audio[index].float(), self._audio[(index + 1).clamp(max=len(self._audio) - 1)].float()
        edges = (torch.minimum(at, length - 1 - at).float() / _TAPER).clamp(max=1.0)
        sound: Tensor = torch.where(inside, (first + (second - first) * share) * edges, 0.0)
        decay = torch.exp(-6.9 * torch.arange(_ROOM, device=self._device) / room.float().clamp(min=1.0))
        echo = torch.randn(len(table), _ROOM, generator=generator, device=self._device) * decay * (room > 0)
        echo = echo * (wet.float() / echo.norm(dim=1, keepdim=True).clamp(min=1e-9))
        echo[:, 0] = 1.0
        response = torch.fft.rfft(echo, _PADDED) * self._response(table[:, _MICROPHONE:].float())
        sound = torch.fft.irfft(torch.fft.rfft(sound) * response, _PADDED)[:, :WINDOW_SAMPLES]
        sound *= amplitude.float() / sound.abs().amax(dim=1, keepdim=True).clamp(min=1e-9)
        return sound

    def _response(self, microphone: Tensor) -> Tensor:
        """Magnitudes [rows, bins] of microphones, as `_microphone` draws them."""
        low, high = microphone[:, :1], microphone[:, 1:2]
        level = microphone[:, 2:] @ self._knots
        level = level - 10 * torch.log10(1 + (low / self._hertz.clamp(min=1.0)) ** 4)
        level = level - 10 * torch.log10(1 + (self._hertz / high) ** 8)
        return torch.pow(10.0, level / 20)

    def _noise(self, draw: Draw, generator: torch.Generator) -> Tensor:
        """[size, 160000]: noise of a colour, in gusts."""
        table, size = self._there(draw.noise), len(draw.noise)
        level, slope = table[:, :1], table[:, 1:2]
        parts = torch.randn(size, len(self._hertz), 2, generator=generator, device=self._device)
        colour = (self._hertz / 1000 + 0.05) ** slope * self._response(table[:, 2:])
        noise = torch.fft.irfft(torch.view_as_complex(parts) * colour, _PADDED)[:, :WINDOW_SAMPLES]
        gusts = self._there(draw.gusts)[:, None]
        noise = noise * F.interpolate(gusts, WINDOW_SAMPLES, mode="linear", align_corners=True)[:, 0]
        scaled: Tensor = noise * (level / noise.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9))
        return scaled


def _pick(random: Generator, *shares: float) -> int:
    """0 with the first share, and so on; shares add up."""
    return bisect(shares, random.random())


def _place(random: Generator, scene: int, part: tuple[int, int, float], level_db: float) -> tuple[float, ...]:
    """A part of the material (its first sample, samples, speed) anywhere in a scene, now and then over an edge.

    scene, first sample, samples, speed, place in the scene, amplitude, samples of echo and its share, microphone.
    """
    source, length, speed = part
    played = length / speed
    slack = played / 2 if random.random() < 0.3 else 0.0
    low, high = sorted((-slack, WINDOW_SAMPLES - played + slack))
    place = int(random.uniform(low, high))
    amplitude = 10.0 ** (level_db / 20) * (1 if random.random() < 0.5 else -1)
    room = random.uniform(0.05, 0.5) * SAMPLE_RATE if random.random() < 0.4 else 0.0
    wet = random.uniform(0.05, 0.6)
    return scene, source, length, speed, place, amplitude, room, wet, *_microphone(random)


def _microphone(random: Generator) -> tuple[float, ...]:
    """Low cut and high cut in Hz, and a smooth response at the knots, +- 10 dB."""
    low = random.uniform(60, 350) if random.random() < 0.3 else 0.0
    high = random.uniform(6_000, 14_000) if random.random() < 0.3 else 1e6
    return (low, high, *random.normal(0, 4, len(_KNOTS)).clip(-10, 10))


def _colour(random: Generator) -> tuple[float, float]:
    """Root mean square of noise, and slope of its spectrum."""
    level = 10.0 ** (-random.uniform(25, 65) / 20) if random.random() < 0.85 else 0.0
    return level, random.uniform(-1.5, 0.3)


def _ends(random: Generator) -> tuple[float, ...]:
    """Between which samples a scene is heard, its peak, its offset, and whether it is rounded to 16 bit."""
    first, last = 0, WINDOW_SAMPLES
    if random.random() < 0.15:  # digital silence, as in a padded window
        cut = int(random.integers(8_000, WINDOW_SAMPLES - 32_000))
        first, last = (0, last - cut) if random.random() < 0.7 else (cut, last)
    peak = 10.0 ** (random.uniform(-55, 6 if random.random() < 0.2 else 0) / 20)
    offset = random.normal(0, 0.01) if random.random() < 0.1 else 0.0
    return first, last, peak, offset, float(random.random() < 0.5)
