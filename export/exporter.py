"""Checkpoints -> bundle, step by step, with parity checked after each step that could break it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from edgebird import __version__
from edgebird.bundle import CARD_FILE, GOLDEN_FILE, Bundle, GoldenData, new_bundle, open_bundle, write_golden
from edgebird.card import OPSET, Card, Fold, Golden, Precision, Tensor, floor_group
from edgebird.export import graph
from edgebird.export.cascade.making import make_cascade
from edgebird.export.embeddings import check_embeddings
from edgebird.export.essentials import scorer
from edgebird.export.families.family import Family
from edgebird.export.families.registry import read_family
from edgebird.export.labels import labels_for
from edgebird.export.operators import lint
from edgebird.export.precisions.backbone import Fp32Graph, backbone_nodes, map_tensors
from edgebird.export.precisions.bf16 import Bf16
from edgebird.export.precisions.gate import Known
from edgebird.export.precisions.lower import Lowered, Made, Recordings, evidence, judge_made, lower, read_recordings
from edgebird.files import file_sha256
from edgebird.parity import TOLERANCES, Parity, prove, told_bound
from edgebird.types import FloatArray, Label

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export: checkpoints (files or folders), the bundle to write, and how.

    db_floor: `window`, or `batch` for torchaudio's coupling of four windows. experiment: None to recognise it.
    labels: CSV file, None for the family's. force: replace a bundle that exists. precisions: graphs to write beside
    FP32. calibration: recordings, or folders of them, of what will be heard; none: edgebird's own. weights: which of
    those in a checkpoint, such as `ema`; None for the trained ones. embeddings: the graph also gives what the heads
    read. cascade: with stages before it, for detections at cascade_threshold or above.
    """

    folds: tuple[Path, ...]
    out: Path
    labels: Path | None = None
    db_floor: str = "window"
    experiment: str | None = None
    force: bool = False
    precisions: tuple[str, ...] = ()
    calibration: tuple[Path, ...] = ()
    weights: str | None = None
    embeddings: bool = False
    cascade: bool = False
    cascade_threshold: float = 0.3


def export_bundle(request: ExportRequest, tell: Callable[[str], None] = log.info) -> Bundle:
    """Export folds as one graph, proven equal to the original networks, into a new bundle.

    tell: takes a line per step. Raises EdgebirdError; then nothing is left behind.
    """
    with new_bundle(request.out, request.force) as folder:
        family, checkpoints = read_family(request.folds, request.experiment, request.weights)
        recordings = read_recordings(request.calibration, family, tell) if request.precisions else None
        for name in request.precisions:
            assert recordings is not None
            recordings.require_enough(name)  # said before the work
        originals = family.load(checkpoints, request.experiment, request.db_floor)
        for source, checkpoint in zip(originals.sources, checkpoints, strict=True):
            tell(f"read      {source.experiment} {source.file}{checkpoint.hint}")
        labels = labels_for(originals.classes, request.labels, family)
        golden = originals.record_golden()
        tell(f"recorded  {len(golden.names)} golden windows with the original network in float64")
        essentials = _essentials(family, labels, originals.sources, request.db_floor)
        model, parity = build_graph(originals.freeze(), golden, essentials, tell, request.embeddings)
        fp32 = Fp32Graph(model, backbone_nodes(model, family.block), floor_group(request.db_floor))
        card = Card(
            labels=labels,
            sample_rate=family.sample_rate,
            window_samples=family.window_samples,
            input=Tensor(graph.INPUT, (graph.BATCH, family.window_samples)),
            output=Tensor(graph.OUTPUT, (graph.BATCH, len(labels))),
            precisions={"fp32": _write_graph(folder, "fp32", model, parity, tell)},
            db_floor=request.db_floor,
            images=graph.image_tensors(model),
            maps=map_tensors(model, fp32.backbone),
            outputs=_outputs(model) if request.embeddings else {},
            folds=tuple(originals.sources),
            golden=_write_golden(folder / GOLDEN_FILE, golden, family.sample_rate),
            edgebird=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
        if recordings is not None:
            lower_precisions = LowerPrecisions(fp32, golden, recordings, card, tell)
            card = replace(card, precisions=lower_precisions.write(folder, request.precisions))
        if request.cascade:
            given = request.calibration, request.cascade_threshold
            card = replace(card, cascade=make_cascade(folder, card, golden, *given, tell))
        (folder / CARD_FILE).write_bytes(card.to_bytes())
    tell(f"wrote     {request.out}")
    return open_bundle(request.out)


class LowerPrecisions:
    """The graphs of lower precision beside that in FP32, and what engines make of them.

    card: of the bundle so far.
    """

    def __init__(
        self, fp32: Fp32Graph, golden: GoldenData, recordings: Recordings, card: Card, tell: Callable[[str], None]
    ) -> None:
        self._fp32, self._recordings, self._card, self._tell = fp32, recordings, card, tell
        self._known = evidence(fp32, golden, recordings.held_out, card.codes)
        self._engine = Bf16(card, tell)

    def write(self, folder: Path, precisions: Sequence[str]) -> dict[str, Precision]:
        """Write them into a folder; what the card says of all graphs."""
        made = judge_made("fp32", self._fp32.model, self._known, self._engine)
        written = {"fp32": _with_made(self._card.precisions["fp32"], made, self._known, self._tell)}
        for name in precisions:
            lowered = lower(name, self._fp32, self._known, self._recordings, self._tell, self._engine)
            written[name] = _write_lowered(folder, lowered, self._known, self._tell)
        return written


def build_graph(
    network: nn.Module,
    golden: GoldenData,
    metadata: dict[str, str],
    tell: Callable[[str], None],
    embeddings: bool = False,
) -> tuple[onnx.ModelProto, Parity]:
    """Export the frozen network and simplify: it and each step are held to the FP32 tolerance against `golden`.

    embeddings: add that output, held to what the network's poolings give. Raises ParityError naming the step that broke
    it, ExportError for a graph that is not valid.
    """
    group = floor_group(metadata["db_floor"])

    def check(step: str, score: Callable[[FloatArray], FloatArray]) -> Parity:
        proof = prove(score, golden, (group,), TOLERANCES["fp32"], group)
        parity = proof.require(f"step '{step}' changed the network")
        tell(f"{step:<9} largest score difference {parity.max_abs:.1e}")
        return parity

    with torch.inference_mode():
        check("freeze", lambda audio: network(torch.from_numpy(audio)).numpy())
    model = graph.to_onnx(network, golden.audio.shape[1])
    check("export", scorer(model))
    model = graph.simplify(model)
    model = graph.finish(graph.with_embeddings(model) if embeddings else model, metadata)
    parity = check("simplify", scorer(model))
    if embeddings:
        off = check_embeddings(network, model, golden.windows()[:4])
        tell(f"embed     largest difference {off:.1e} of the largest number in embeddings")
    return model, parity


def _outputs(model: onnx.ModelProto) -> dict[str, Tensor]:
    width = graph.embeddings_width(model)
    return {graph.EMBEDDINGS: Tensor(graph.EMBEDDINGS, (graph.BATCH, width))}


def _essentials(family: Family, labels: Sequence[Label], folds: Sequence[Fold], db_floor: str) -> dict[str, str]:
    """What the ONNX file says of itself, so that it is known without its card."""
    return {
        "edgebird": __version__,
        "sample_rate": str(family.sample_rate),
        "window_samples": str(family.window_samples),
        "db_floor": db_floor,
        "activation": "none",
        "precision": "fp32",
        "folds": json.dumps([asdict(fold) for fold in folds]),
        "labels": json.dumps([label.code for label in labels]),
    }


def _write_graph(
    folder: Path, precision: str, model: onnx.ModelProto, parity: Parity, tell: Callable[[str], None]
) -> Precision:
    path = folder / f"model.{precision}.onnx"
    path.write_bytes(model.SerializeToString())
    refused = lint(model)
    for engine, nodes in refused.items():
        for reason, count in Counter(nodes.values()).items():
            first = next(node for node, why in nodes.items() if why == reason)
            more = f" and {count - 1} more" if count > 1 else ""
            tell(f"lint      {engine} will not take {first}{more} of {path.name}: {reason}")
    tolerance = asdict(TOLERANCES[precision])
    return Precision(path.name, file_sha256(path), OPSET, tolerance, parity.to_json(), lint=refused)


def _write_lowered(folder: Path, lowered: Lowered, known: Sequence[Known], tell: Callable[[str], None]) -> Precision:
    made = lowered.candidate
    for node, reason in made.kept.items():
        tell(f"kept      {node} in FP32: {reason}")
    worst = max(parity.max_abs for parity in lowered.proofs.values())
    tell(f"{made.precision:<9} largest score difference {worst:.1e}, with {made.share:.0%} of the multiplications")
    for its in known:
        found = max((p for name, p in lowered.proofs.items() if name.startswith(its.name)), key=lambda p: p.beyond)
        tell(f"{made.precision:<9} {its.name}: {told_bound(found.beyond, found.windows, its.recordings)}")
    written = _write_graph(folder, made.precision, made.model, lowered.parity, tell)
    written = replace(
        written,
        proofs=_told_proofs(lowered.proofs, known),
        kept=made.kept,
        share=round(made.share, 4),
        costs=_short(made.costs),
        refused=lowered.refused,
    )
    return _with_made(written, lowered.made, known, tell)


def _with_made(
    graph: Precision, made: Sequence[Made], known: Sequence[Known], tell: Callable[[str], None]
) -> Precision:
    """What the card says of a graph, with what engines make of it."""
    for its in made:
        if its.refused:
            tell(f"{its.precision:<9} refused, nothing will run it: {its.refused}")
        for name, parity in its.proofs.items():
            tell(f"{its.precision:<9} {name}: largest score difference {parity.max_abs:.1e}, 99 % {parity.p99:.1e}")
    proofs = {name: proof for its in made for name, proof in _told_proofs(its.proofs, known).items()}
    refuses = {its.precision: its.refused for its in made if its.refused}
    return replace(graph, proofs={**graph.proofs, **proofs}, refuses=refuses)


def _told_proofs(proofs: Mapping[str, Parity], known: Sequence[Known]) -> dict[str, dict[str, Any]]:
    """Each proof as the card has it, with how many recordings its windows are of."""
    recordings = {its.name: its.recordings for its in known}
    return {
        name: parity.to_json() | {"recordings": recordings[name.partition(",")[0]]} for name, parity in proofs.items()
    }


def _short(costs: Mapping[str, float]) -> dict[str, float]:
    """Three digits of each."""
    return {name: float(f"{cost:.2e}") for name, cost in costs.items()}


def _write_golden(path: Path, golden: GoldenData, sample_rate: int) -> Golden:
    write_golden(path, golden, sample_rate)
    return Golden(path.name, file_sha256(path), len(golden.names), len(set(golden.recordings)))
