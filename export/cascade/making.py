"""A bundle's cascade: recordings are heard once, then fit the gate, choose what passes, and prove the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from edgebird.bundle import Bundle, GoldenData
from edgebird.card import Card, floor_group
from edgebird.cascade import (
    RECORDINGS,
    WANTED,
    Bound,
    Cascade,
    JudgedWindows,
    StageFile,
    most_missed,
    pairs_wanted,
)
from edgebird.errors import ExportError, ParityError
from edgebird.export.cascade.choosing import Costs, PassingThresholds, choose
from edgebird.export.cascade.engines import FAULTS, StageEngines
from edgebird.export.cascade.gate import Gate, fit
from edgebird.export.cascade.heard import HeardWindows
from edgebird.export.cascade.material import CHOOSE, FIT, JUDGE, given_material, scenes
from edgebird.export.cascade.stages import Cuts, between, cut, cuts_of, with_free_batch
from edgebird.export.precisions.backbone import multiplications
from edgebird.files import file_sha256
from edgebird.kept import kept_of

GATE_FILE = "cascade.gate.onnx"
_SPENT = 0.4  # of the misses that the bound will allow: so much is allowed where thresholds are chosen
_JUDGED = 2 / 3  # pairs that will judge, of those that fit and choose

Tell = Callable[[str], None]


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
    engines = StageEngines(Bundle(folder, card), stages, golden, tell)
    material = given_material(recordings, card, tell) if recordings else scenes(card, golden)
    tell(f"cascade   hears {material.evidence}: they are scored in full, which takes a while")
    fitted, chosen = (engines.hear(material.of(use), "fp32") for use in (FIT, CHOOSE))
    model = onnx.load(str(folder / card.precisions["fp32"].file))
    costs, fold = _costs(model, cuts)
    gate = fit(fitted.images, fitted.scores.max(axis=1), fold)
    (folder / GATE_FILE).write_bytes(gate.to_onnx(*fitted.images.shape[2:]).SerializeToString())
    costs = replace(costs, gate=costs.gate + gate.share * fold)
    choice = _choose(gate, fitted, chosen, threshold, costs)
    tell(
        f"cascade   gate of {gate.share:.1%} of a fold; on what they were chosen with, stages take {choice.cost:.0%} "
        "of the work"
    )
    bounds = {}
    for name in engines.files:
        try:
            judging = engines.hear(material.of(JUDGE), name, folder / GATE_FILE)
            bounds[name] = _prove(judging, choice, threshold, card.sample_rate)
            tell(f"cascade   {name}: {bounds[name].told()}")
        except (ExportError, *FAULTS) as error:
            if name not in engines.made:
                raise type(error)(f"the cascade is not written: at {name} {error}") from error
            tell(f"cascade   none at {name}: {error}")
    return Cascade(
        gate=_file(folder / GATE_FILE),
        stages={name: {part: _file(path) for part, path in engines.files[name].items()} for name in bounds},
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


def _choose(
    gate: Gate, fitted: HeardWindows, chosen: HeardWindows, threshold: float, costs: Costs
) -> PassingThresholds:
    heard = {use: its.scores >= threshold for use, its in ((FIT, fitted), (CHOOSE, chosen))}
    pairs = round(_JUDGED * sum(int(hits.sum()) for hits in heard.values()))
    allowed = _SPENT * most_missed(pairs) / max(pairs, 1)
    further = fitted.first.max(axis=1)[heard[FIT].any(axis=1)]
    logits, hits = gate.logits(chosen.images), heard[CHOOSE].sum(axis=1)
    return choose(logits, chosen.first, hits, costs, (further, allowed / 2))


def _prove(judging: HeardWindows, choice: PassingThresholds, threshold: float, rate: int) -> Bound:
    """The bound of a precision. Raises ExportError for too few pairs, ParityError where it does not hold."""
    _, numbers = np.unique(judging.recordings, return_inverse=True)
    stages = choice.stages(judging.logits, judging.first)
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
