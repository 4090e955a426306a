"""Windows to fit, to choose and to judge a cascade with: each recording is for one of these alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgebird.bundle import GoldenData
from edgebird.card import Card
from edgebird.errors import AudioError, ExportError
from edgebird.export.precisions.audio import varied
from edgebird.export.precisions.shipped import shipped
from edgebird.files import file_sha256
from edgebird.kept import windows_apart
from edgebird.sources import FileSource, find_audio
from edgebird.types import FloatArray, Window

FIT, CHOOSE, JUDGE = "fit", "choose", "judge"
_TURN = (FIT, JUDGE, CHOOSE, FIT, JUDGE)  # what blocks of recordings are for, one after the other
_BLOCKS = 25  # of recordings that follow one another by their names: neighbours, often of one night, are together
_MOST = {FIT: 6000, CHOOSE: 6000, JUDGE: 20_000}  # windows; images of the first are kept: 80 KB each of exp105
_SCENES = {FIT: 900, CHOOSE: 500, JUDGE: 900}  # made of recordings that come with edgebird
_SETS = {FIT: "calibration", CHOOSE: "held-out", JUDGE: "golden"}


@dataclass(frozen=True, slots=True)
class SoundWindow:
    """A window of a recording. recording: its name."""

    recording: str
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class CascadeMaterial:
    """Windows by use.

    uses: recording -> use. windows: those of a recording. counts: how many these are, about. evidence: in words.
    """

    uses: Mapping[str, str]
    windows: Callable[[str], Iterator[Window]]
    counts: Callable[[str], int]
    evidence: str

    def of(self, use: str) -> Iterator[SoundWindow]:
        """Those for a use, evenly thinned out where there are very many; none twice."""
        for name, step, number in self._parts(use):
            yield from (SoundWindow(name, window) for window in islice(self.windows(name), 0, step * number, step))

    def size(self, use: str) -> tuple[int, int]:
        """How many recordings, and about how many windows of them, are for a use."""
        parts = self._parts(use)
        return len(parts), sum(number for _, _, number in parts)

    def _parts(self, use: str) -> list[tuple[str, int, int]]:
        """Of each recording for a use: its name, every which window is taken, and how many these are at most."""
        names = [name for name, its in self.uses.items() if its == use]
        each = max(1, _MOST[use] // max(1, len(names)))
        parts = []
        for name in names:
            count = self.counts(name) or each  # nobody knows how long it is
            step = -(-count // each)
            parts.append((name, step, -(-count // step)))
        return parts


def given_material(recordings: Sequence[Path], card: Card, tell: Callable[[str], None]) -> CascadeMaterial:
    """Of recordings, and folders of them; what cannot be read is told. Raises ExportError for fewer than five."""
    found, errors = find_audio(recordings)
    if errors:
        raise errors[0]
    files = sorted({file_sha256(audio.path): str(audio.path) for audio in found}.values())  # a copy is the same one
    if len(files) < len(_TURN):
        raise ExportError(
            f"--cascade: {len(files)} recordings cannot be parted in those that fit, choose and judge: give "
            f"{len(_TURN)} or more"
        )
    block = -(-len(files) // _BLOCKS)
    uses = {name: _TURN[index // block % len(_TURN)] for index, name in enumerate(files)}

    def windows(name: str) -> Iterator[Window]:
        try:
            yield from windows_apart(Path(name), card.sample_rate, card.window_samples)
        except AudioError as error:
            tell(f"left out  {error}")

    def count(name: str) -> int:
        try:
            seconds = FileSource(Path(name), card.sample_rate).duration_s
        except AudioError:
            return 0
        return round((seconds or 0) * card.sample_rate / card.window_samples)

    return CascadeMaterial(uses, windows, count, f"{len(files)} recordings")


def scenes(card: Card, golden: GoldenData) -> CascadeMaterial:
    """Variations of the recordings that come with edgebird: a bound on these says little of another place."""
    sources: dict[str, list[FloatArray]] = {}
    uses: dict[str, str] = {}
    for use, kind in _SETS.items():
        for part in shipped(kind):
            if part.file:
                read = windows_apart(part.file, card.sample_rate, card.window_samples)
                sources.setdefault(part.recording, []).extend(window.samples for window in read)
                uses[part.recording] = use
    for samples, recording in zip(golden.windows(), golden.recordings, strict=True):
        sources.setdefault(recording, []).append(samples)
        uses[recording] = JUDGE
    counts = {use: list(uses.values()).count(use) for use in _SCENES}

    def count(name: str) -> int:
        return -(-_SCENES[uses[name]] // counts[uses[name]])

    def windows(name: str) -> Iterator[Window]:
        made = varied(np.stack(sources[name]), count(name), seed=len(name))
        for index, samples in enumerate(made):
            start = 2 * index * card.window_samples  # apart, so that each is a detection of its own
            yield Window(samples, start, start + card.window_samples)

    return CascadeMaterial(uses, windows, count, "synthetic scenes, their sources disjoint")
