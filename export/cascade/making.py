"""A bundle's cascade: recordings are heard once, then fit the gate, choose what passes, and prove the bound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import soundfile

from edgebird.bundle import GoldenData
from edgebird.card import Card, floor_group
from edgebird.cascade import WANTED, Bound, Cascade, JudgedWindows, StageFile, pairs_wanted
from edgebird.errors import AudioError, ExportError, ParityError
from edgebird.export.cascade.choosing import Costs, PassingThresholds, choose
from edgebird.export.cascade.gate import Gate, fit
from edgebird.export.cascade.heard import HeardWindows, SoundWindow, hear, sounds_of
from edgebird.export.cascade.stages import Cuts, between, cut, cuts_of, with_free_batch
from edgebird.export.precisions.audio import varied
from edgebird.export.precisions.backbone import multiplications
from edgebird.export.precisions.shipped import shipped
from edgebird.files import file_sha256
from edgebird.kept import kept_of
from edgebird.sources import find_audio
from edgebird.types import FloatArray, Window

LONGEST_S = 60.0  # of a detection
GATE_FILE = "cascade.gate.onnx"
MOST_WINDOWS = 4000  # of all recordings: five and a half hours
_FIT, _CHOOSE, _JUDGE = "fit", "choose", "judge"
_TURN = (_FIT, _JUDGE, _CHOOSE, _FIT, _JUDGE)  # what recordings are for, one after the other
_SCENES = {_FIT: 900, _CHOOSE: 500, _JUDGE: 900}  # made of recordings that come with edgebird
_MEASURED = (".wav", ".flac", ".ogg", ".aif", ".aiff")
_SETS = {_FIT: "calibration", _CHOOSE: "held-out", _JUDGE: "golden"}

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class CascadeMaterial:
    """Windows to hear. uses: recording -> what it is for. evidence: in words."""

    sounds: Iterable[SoundWindow]
    uses: Mapping[str, str]
    evidence: str

    def names(self, use: str) -> list[str]:
        """Recordings for a use."""
        return [name for name, its in self.uses.items() if its == use]


def make_cascade(
    folder: Path, card: Card, golden: GoldenData, recordings: Sequence[Path], threshold: float, tell: Tell
) -> Cascade:
    """Write the gate and the stages into the folder of a bundle; what its card is to say of them.

    card: of the bundle without a cascade, whose graphs are in the folder. recordings: files and folders; none: scenes
    made of those that come with edgebird. Raises ExportError where there is too little to go by, ParityError where the
    bound does not hold.
    """
    if floor_group(card.db_floor) > 1:
        raise ExportError("--cascade: windows that share a floor are scored in groups: export with --db-floor window")
    cuts, stages = write_stages(folder, card)
    material = _given(recordings, card, tell) if recordings else _scenes(card, golden)
    tell(f"cascade   hears {material.evidence}: they are scored in full, which takes a while")
    heard = hear(material.sounds, stages)
    _require_pairs(heard.of(material.names(_JUDGE)), threshold)
    model = onnx.load(str(folder / card.precisions["fp32"].file))
    costs, fold = _costs(model, cuts)
    fitted, chosen = heard.of(material.names(_FIT)), heard.of(material.names(_CHOOSE))
    gate = fit(fitted.images, fitted.scores["fp32"].max(axis=1), fold)
    hits = (chosen.scores["fp32"] >= threshold).sum(axis=1)
    logits = gate.logits(chosen.images)
    heard_too = fitted.first["fp32"].max(axis=1)[fitted.scores["fp32"].max(axis=1) >= threshold]
    costs = replace(costs, gate=costs.gate + gate.share * fold)
    choice = choose(logits, chosen.first["fp32"], hits, costs, heard_too)
    tell(
        f"cascade   gate of {gate.share:.1%} of a fold; stages take {choice.cost:.0%} of the work on what "
        "they were chosen with"
    )
    judged = heard.of(material.names(_JUDGE))
    bounds = _prove(judged, gate, choice, threshold, card, tell)
    (folder / GATE_FILE).write_bytes(gate.to_onnx(*judged.images.shape[2:]).SerializeToString())
    return Cascade(
        gate=_file(folder / GATE_FILE),
        stages={name: {part: _file(path) for part, path in files.items()} for name, files in stages.items()},
        image=cuts.image,
        first=cuts.first,
        threshold=threshold,
        gate_least=choice.gate_least,
        fold_least=choice.fold_least,
        share=gate.share,
        evidence=material.evidence,
        bounds=bounds,
    )


def _file(path: Path) -> StageFile:
    return StageFile(path.name, file_sha256(path))


def write_stages(folder: Path, card: Card) -> tuple[Cuts, dict[str, dict[str, Path]]]:
    """Cut the graph of each precision: where, and precision -> part -> file."""
    written: dict[str, dict[str, Path]] = {}
    for name, precision in card.precisions.items():
        weights = folder / precision.file
        model = onnx.load(str(weights))
        cuts = cuts_of(model, card.images)
        written[name] = {}
        for part, (inputs, output) in cuts.parts.items():
            path = folder / f"cascade.{name}.{part}.onnx"
            path.write_bytes(with_free_batch(cut(model, weights, inputs, output)).SerializeToString())
            written[name][part] = path
    return cuts, written


def _costs(model: onnx.ModelProto, cuts: Cuts) -> tuple[Costs, int]:
    """Multiplications of the stages, the gate's own not counted; and of the first fold alone."""
    work = multiplications(model)
    named = {part: _work(model, work, inputs, output) for part, (inputs, output) in cuts.parts.items()}
    return Costs(named["front"], named["first"], named.get("rest", 0)), named["first"]


def _work(model: onnx.ModelProto, work: Mapping[str, int], inputs: Sequence[str], output: str) -> int:
    needed = between(model, inputs, output)
    return sum(work.get(node.name, 0) for node in model.graph.node if node.output[0] in needed)


def _require_pairs(judging: HeardWindows, threshold: float) -> None:
    """Raise ExportError where not even a cascade that misses nothing could be proven."""
    pairs = int((judging.scores["fp32"] >= threshold).sum())
    if pairs < pairs_wanted():
        raise ExportError(
            f"the cascade is not written: the full model hears {pairs} (window, label) pairs of "
            f"{threshold:g} or more in the "
            f"recordings that judge it, {pairs_wanted()} are needed if none is missed, {pairs_wanted(1)} "
            "if one is: give more "
            "--calibration recordings with birds (two of five judge)"
        )


def _prove(
    judging: HeardWindows, gate: Gate, choice: PassingThresholds, threshold: float, card: Card, tell: Tell
) -> dict[str, Bound]:
    """The bound of each precision. Raises ParityError where one does not hold."""
    _, numbers = np.unique(judging.recordings, return_inverse=True)
    logits, bounds = gate.logits(judging.images), {}
    for name, scores in judging.scores.items():
        judged = JudgedWindows(scores, choice.stages(logits, judging.first[name]), numbers)
        bounds[name] = kept_of(judged, judging.spans, threshold, round(LONGEST_S * card.sample_rate))
        tell(f"cascade   {name}: {bounds[name].told()}")
        if not bounds[name].holds:
            raise ParityError(
                f"the cascade is not written: at {name} it keeps {bounds[name].kept_least:.1%} at least, "
                f"{WANTED:.0%} are "
                f"promised ({bounds[name].missed} of {bounds[name].pairs} pairs missed): give more "
                "--calibration recordings"
            )
    return bounds


# ------------------------------------------------------------------------------------------------------------ material
def _given(recordings: Sequence[Path], card: Card, tell: Tell) -> CascadeMaterial:
    """Windows of recordings, evenly taken where there are very many."""
    found, errors = find_audio(recordings)
    if errors:
        raise errors[0]
    files = {file_sha256(audio.path): audio.path for audio in found}  # a copy is the same recording
    names = {str(path): _TURN[index % len(_TURN)] for index, path in enumerate(sorted(files.values()))}
    if len(set(names.values())) < len(_SCENES):
        raise ExportError(
            f"--cascade: {len(names)} recordings cannot be parted in those that fit, choose and judge: "
            f"give {len(_TURN)} or more"
        )
    total = sum(_seconds(path) for path in files.values())
    step = max(1, round(total * card.sample_rate / card.window_samples / MOST_WINDOWS))
    if step > 1:
        tell(f"cascade   takes every {step}th window of {total / 3600:.1f} hours")

    def sounds() -> Iterator[SoundWindow]:
        count = 0
        for name in names:
            try:
                for sound in sounds_of(Path(name), name, card):
                    if count % step == 0:
                        yield sound
                    count += 1
            except AudioError as error:
                tell(f"left out  {error}")

    return CascadeMaterial(sounds(), names, f"{len(names)} recordings, {total / 60:.0f} minutes")


def _seconds(path: Path) -> float:
    return soundfile.info(path).duration if path.suffix.lower() in _MEASURED else 600.0


def _scenes(card: Card, golden: GoldenData) -> CascadeMaterial:
    """Windows made of the recordings that come with edgebird: each recording is for one use alone."""
    sources: dict[str, dict[str, list[FloatArray]]] = {use: {} for use in _SCENES}
    for use, kind in _SETS.items():
        for part in shipped(kind):
            if part.file:
                windows = [sound.window.samples for sound in sounds_of(part.file, part.recording, card)]
                sources[use].setdefault(part.recording, []).extend(windows)
    for window, recording in zip(golden.windows(), golden.recordings, strict=True):
        sources[_JUDGE].setdefault(recording, []).append(window)
    uses = {name: use for use, its in sources.items() for name in its}

    def sounds() -> Iterator[SoundWindow]:
        for use, its in sources.items():
            each = -(-_SCENES[use] // len(its))
            for number, (name, windows) in enumerate(its.items()):
                for index, samples in enumerate(varied(np.stack(windows), each, seed=number)):
                    # A window apart: no two are of one song.
                    start = 2 * index * card.window_samples
                    yield SoundWindow(name, Window(samples, start, start + card.window_samples))

    return CascadeMaterial(sounds(), uses, "synthetic scenes, their sources disjoint")
