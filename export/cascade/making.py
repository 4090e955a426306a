"""A bundle's cascade: recordings fit the gate and the head, others choose what passes, others prove the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from edgebird.bundle import Bundle, GoldenData
from edgebird.card import Card, floor_group
from edgebird.cascade import RECORDINGS, WANTED, Bound, Cascade, JudgedWindows, StageFile, pairs_wanted, sure_of
from edgebird.errors import ExportError, ParityError
from edgebird.export.cascade.choosing import ChoosingWindows, Costs, JudgingSize, PassingThresholds, choose
from edgebird.export.cascade.engines import FAULTS, StageEngines
from edgebird.export.cascade.gate import fit
from edgebird.export.cascade.head import fit_head
from edgebird.export.cascade.heard import HeardWindows
from edgebird.export.cascade.material import CHOOSE, FIT, JUDGE, given_material, scenes
from edgebird.export.cascade.stages import Cuts, between, cut, cuts_of, with_free_batch
from edgebird.export.precisions.backbone import multiplications
from edgebird.files import file_sha256
from edgebird.kept import kept_of

JUDGE_FILES = {"gate": "cascade.gate.onnx", "head": "cascade.head.onnx"}

Tell = Callable[[str], None]


def make_cascade(
    folder: Path, card: Card, golden: GoldenData, recordings: Sequence[Path], threshold: float, tell: Tell
) -> Cascade:
    """Write the gate, the head and the stages into the folder of a bundle; what its card is to say of them.

    card: of the bundle without a cascade, whose graphs are in the folder. recordings: files and folders; none: scenes
    made of those that come with edgebird. Raises ExportError where there is too little to go by, ParityError where the
    bound does not hold.
    """
    if floor_group(card.db_floor) > 1:
        raise ExportError("--cascade: windows that share a floor are scored in groups: export with --db-floor window")
    cuts, stages = write_stages(folder, card)
    engines = StageEngines(Bundle(folder, card), stages, golden, tell)
    material = given_material(recordings, card, tell) if recordings else scenes(card, golden)
    tell(f"cascade   hears {material.evidence}: they are scored in full, which takes a while")
    model = onnx.load(str(folder / card.precisions["fp32"].file))
    costs, fold = _costs(model, cuts)
    judges, share = _fit(folder, engines.hear(material.of(FIT), "fp32"), fold, costs.rest > 0)
    costs = replace(costs, gate=costs.gate + share * fold)
    choosing = engines.hear(material.of(CHOOSE), "fp32", judges)
    hits = (choosing.scores >= threshold).sum(axis=1)
    sure = sure_of(choosing.first, threshold)
    heard = ChoosingWindows(choosing.gate, choosing.head, sure, hits, choosing.recordings)
    choice = choose(heard, costs, JudgingSize(*material.size(JUDGE)))
    tell(
        f"cascade   gate of {share:.1%} of a fold; on what they were chosen with, stages take {choice.cost:.0%} "
        "of the work"
    )
    bounds = {}
    for name in engines.files:
        try:
            judging = engines.hear(material.of(JUDGE), name, judges)
            bounds[name] = _prove(judging, choice, threshold, card.sample_rate)
            tell(f"cascade   {name}: {bounds[name].told()}")
        except (ExportError, *FAULTS) as error:
            if name not in engines.made:
                raise type(error)(f"the cascade is not written: at {name} {error}") from error
            tell(f"cascade   none at {name}: {error}")
    return Cascade(
        gate=_file(judges["gate"]),
        head=_file(judges["head"]) if "head" in judges else None,
        stages={name: {part: _file(path) for part, path in engines.files[name].items()} for name in bounds},
        image=cuts.image,
        first=cuts.first,
        threshold=threshold,
        gate_least=choice.gate_least,
        head_least=choice.head_least,
        share=share,
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


def _fit(folder: Path, heard: HeardWindows, fold: int, more: bool) -> tuple[dict[str, Path], float]:
    """Fit the gate and, where there is more behind the first fold, the head: files, the gate's share of a fold."""
    gate = fit(heard.images, heard.scores, fold)
    models = {"gate": gate.to_onnx(*heard.images.shape[2:])}
    if more:
        models["head"] = fit_head(heard.first, heard.scores.max(axis=1)).to_onnx()
    files = {part: folder / JUDGE_FILES[part] for part in models}
    for part, path in files.items():
        path.write_bytes(models[part].SerializeToString())
    return files, gate.share


def _prove(judging: HeardWindows, choice: PassingThresholds, threshold: float, rate: int) -> Bound:
    """The bound of a precision. Raises ExportError for too few pairs, ParityError where it does not hold."""
    _, numbers = np.unique(judging.recordings, return_inverse=True)
    stages = choice.stages(judging.gate, judging.head, sure_of(judging.first, threshold))
    bound = kept_of(JudgedWindows(judging.scores, stages, numbers), judging.spans, threshold, rate)
    if bound.pairs < pairs_wanted() or bound.recordings_with < RECORDINGS:
        raise ExportError(
            f"the full model hears {bound.pairs} pairs (a window and a label of {threshold:g} or more) in "
            f"{bound.recordings_with} of the recordings that judge; {pairs_wanted()} in {RECORDINGS} are needed if "
            f"none is missed, {pairs_wanted(1)} if one is: give more --calibration recordings with birds, of which two "
            "of five judge"
        )
    if not bound.holds:
        raise ParityError(
            f"it keeps {bound.kept_least:.2%} at least, {WANTED:.0%} are promised ({bound.missed} of {bound.pairs} "
            "pairs missed): give more --calibration recordings"
        )
    return bound
