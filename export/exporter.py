"""Checkpoints -> bundle, step by step, with parity checked after each step that could break it."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import onnx
import torch

from edgebird import __version__
from edgebird.bundle import CARD_FILE, GOLDEN_FILE, Bundle, GoldenData, new_bundle, open_bundle
from edgebird.card import Card, Fold, Golden, Precision, Tensor, floor_group
from edgebird.errors import ParityError
from edgebird.export import graph
from edgebird.export.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.folds import LoadedFold, load_folds
from edgebird.export.freeze import freeze
from edgebird.export.golden import record_golden
from edgebird.export.labels import labels_for
from edgebird.export.operators import lint
from edgebird.export.precisions.backbone import map_tensors
from edgebird.export.precisions.gate import scorer
from edgebird.export.precisions.lower import Lowered, lower, read_recordings
from edgebird.files import file_sha256
from edgebird.parity import TOLERANCES, Parity, compare, score_in_groups
from edgebird.types import FloatArray, Label

log = logging.getLogger(__name__)

_TOLERANCE = TOLERANCES["fp32"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export: checkpoints (files or folders), the bundle to write, and how.

    db_floor: `window`, or `batch` for torchaudio's coupling of four windows. experiment: None to recognise it.
    labels: CSV file, None for BirdCLEF 2023. force: replace a bundle that exists. precisions: graphs to write beside
    FP32. calibration: recordings, or folders of them, of what will be heard; none: the demo's.
    """

    folds: tuple[Path, ...]
    out: Path
    labels: Path | None = None
    db_floor: str = "window"
    experiment: str | None = None
    force: bool = False
    precisions: tuple[str, ...] = ()
    calibration: tuple[Path, ...] = ()


def export_bundle(request: ExportRequest, tell: Callable[[str], None] = log.info) -> Bundle:
    """Export folds as one graph, proven equal to the original networks, into a new bundle.

    tell: takes a line per step. Raises EdgebirdError; then nothing is left behind.
    """
    with new_bundle(request.out, request.force) as folder:
        recordings = read_recordings(request.calibration) if request.precisions else None
        folds = load_folds(request.folds, request.experiment, request.db_floor)
        for fold in folds:
            tell(f"read      {fold.source.experiment} {fold.source.file}")
        labels = labels_for(folds[0].model.architecture.classes, request.labels)
        golden = record_golden([fold.model for fold in folds], request.db_floor)
        tell(f"recorded  {len(golden.names)} golden windows with the original network in float64")
        essentials = _essentials(labels, [fold.source for fold in folds], request.db_floor)
        model, parity = build_graph(folds, golden, essentials, tell)
        precisions = {"fp32": _write_graph(folder, "fp32", model, parity, tell)}
        for name in request.precisions:
            assert recordings is not None
            lowered = lower(name, model, golden, recordings, floor_group(request.db_floor), tell)
            precisions[name] = _write_lowered(folder, lowered, tell)
        card = Card(
            labels=labels,
            sample_rate=SAMPLE_RATE,
            window_samples=WINDOW_SAMPLES,
            input=Tensor(graph.INPUT, (graph.BATCH, WINDOW_SAMPLES)),
            output=Tensor(graph.OUTPUT, (graph.BATCH, len(labels))),
            precisions=precisions,
            db_floor=request.db_floor,
            images=graph.image_tensors(model),
            maps=map_tensors(model),
            folds=tuple(fold.source for fold in folds),
            golden=_write_golden(folder / GOLDEN_FILE, golden),
            edgebird=__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
        (folder / CARD_FILE).write_bytes(card.to_bytes())
    tell(f"wrote     {request.out}")
    return open_bundle(request.out)


def build_graph(
    folds: Sequence[LoadedFold], golden: GoldenData, metadata: dict[str, str], tell: Callable[[str], None]
) -> tuple[onnx.ModelProto, Parity]:
    """Freeze, export and simplify, each step held to the FP32 tolerance against `golden`.

    Raises ParityError naming the step that broke it, ExportError for a graph that is not valid.
    """
    windows = golden.windows()
    group = floor_group(metadata["db_floor"])

    def prove(step: str, score: Callable[[FloatArray], FloatArray]) -> Parity:
        parity = compare(golden.scores, score_in_groups(score, windows, group), _TOLERANCE)
        if not parity.passes(_TOLERANCE):
            raise ParityError(
                f"step '{step}' changed the network: scores differ by up to {parity.max_abs:.2g} "
                f"(99 %: {parity.p99:.2g}; allowed {_TOLERANCE.max:.0e}, {_TOLERANCE.p99:.0e}), "
                f"most in window {parity.worst_window} ({golden.names[parity.worst_window]})"
            )
        tell(f"{step:<9} largest score difference {parity.max_abs:.1e}")
        return parity

    network = freeze([fold.model for fold in folds])
    with torch.inference_mode():
        prove("freeze", lambda audio: network(torch.from_numpy(audio)).numpy())
    model = graph.to_onnx(network)
    prove("export", scorer(model))
    model = graph.finish(graph.simplify(model), metadata)
    return model, prove("simplify", scorer(model))


def _essentials(labels: Sequence[Label], folds: Sequence[Fold], db_floor: str) -> dict[str, str]:
    """What the ONNX file says of itself, so that it is known without its card."""
    return {
        "edgebird": __version__,
        "sample_rate": str(SAMPLE_RATE),
        "window_samples": str(WINDOW_SAMPLES),
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
            more = f" and {count - 1} more nodes" if count > 1 else ""
            tell(f"lint      {engine} will not take {first}{more} of {path.name}: {reason}")
    tolerance = asdict(TOLERANCES[precision])
    return Precision(path.name, file_sha256(path), graph.OPSET, tolerance, parity.to_json(), lint=refused)


def _write_lowered(folder: Path, lowered: Lowered, tell: Callable[[str], None]) -> Precision:
    made = lowered.candidate
    for node, reason in made.kept.items():
        tell(f"kept      {node} in FP32: {reason}")
    proofs = {name: parity.to_json() for name, parity in lowered.proofs.items()}
    worst = max(parity.max_abs for parity in lowered.proofs.values())
    tell(f"{made.precision:<9} largest score difference {worst:.1e}, with {made.share:.0%} of the multiplications")
    written = _write_graph(folder, made.precision, made.model, lowered.parity, tell)
    return replace(
        written,
        proofs=proofs,
        kept=made.kept,
        share=round(made.share, 4),
        costs=_short(made.costs),
        refused=lowered.refused,
    )


def _short(costs: Mapping[str, float]) -> dict[str, float]:
    """Three digits of each."""
    return {name: float(f"{cost:.2e}") for name, cost in costs.items()}


def _write_golden(path: Path, golden: GoldenData) -> Golden:
    np.savez_compressed(path, audio=golden.audio, scores=golden.scores, names=np.array(golden.names))
    return Golden(path.name, file_sha256(path))
