"""A published model -> a bundle: recognised, converted where need be, proven, written whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from edgebird import __version__
from edgebird.bundle import CARD_FILE, GOLDEN_FILE, Bundle, GoldenData, new_bundle, open_bundle, write_golden
from edgebird.card import GEO, PLACE, Adoption, Card, Golden, Precision, Tensor
from edgebird.errors import ExportError, LabelError
from edgebird.export.adopt.adopted import Adopted
from edgebird.export.adopt.described import described
from edgebird.export.adopt.evidence import Silence, golden_places, golden_windows, scored
from edgebird.export.adopt.families import FAMILIES, ModelFamily
from edgebird.export.adopt.graphs import BATCH, Parts, fitted, parts_of, with_one_input
from edgebird.export.adopt.labels import read_model_labels
from edgebird.export.adopt.reference import LiteRt, PlainOrt, Reference
from edgebird.export.adopt.signature import (
    Signature,
    further_outputs,
    place_inputs,
    recognised,
    require_outputs,
    scores_output,
    signature_of,
)
from edgebird.export.adopt.tflite.convert import convert
from edgebird.export.essentials import essentials, scorer
from edgebird.export.operators import lint
from edgebird.files import file_sha256
from edgebird.parity import Parity, check_finite, prove, told_bound
from edgebird.runtimes.contract import run_in_batches
from edgebird.types import Label

log = logging.getLogger(__name__)

_GRAPH = "model.fp32.onnx"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """What to adopt: a .tflite or .onnx file, the bundle to write, and how.

    labels: the list of classes that came with it. family: None to recognise it. card: a TOML file that says what no
    family does. force: replace a bundle that exists. precisions: graphs to write beside FP32. audio: recordings, or
    folders of them, of what will be heard, for these.
    """

    model: Path
    out: Path
    labels: Path | None = None
    family: str | None = None
    card: Path | None = None
    force: bool = False
    precisions: tuple[str, ...] = ()
    audio: tuple[Path, ...] = ()


def adopt(request: AdoptRequest, tell: Tell = log.info) -> Bundle:
    """Make a bundle of a published model, its graph proven against an independent reference.

    tell: takes a line per step. Raises EdgebirdError; then nothing is left behind.
    """
    with new_bundle(request.out, request.force) as folder:
        adopted, reference = _read(request, tell)
        card = replace(adopted.card, reference=reference.name)
        golden, silence = scored(golden_places() if card.kind == GEO else golden_windows(card), card, reference)
        tell(f"recorded  {len(golden.names)} {_what(card)} with {card.reference}")
        parity = _proven(adopted.model, card, golden, tell)
        (folder / _GRAPH).write_bytes(adopted.model.SerializeToString())
        write_golden(folder / GOLDEN_FILE, golden, card.sample_rate)
        card = replace(card, golden=_golden(folder / GOLDEN_FILE, golden, silence))
        _tell_silence(adopted.model, card, silence, tell)
        card = replace(card, precisions={"fp32": _described(folder, adopted.model, card, parity, tell)})
        if request.precisions or (card.kind != GEO and find_spec("torch")):
            from edgebird.export.adopt.precisions import with_precisions

            adopted = replace(adopted, card=card)
            card = with_precisions(folder, adopted, golden, request.precisions, request.audio, tell)
        (folder / CARD_FILE).write_bytes(card.to_bytes())
    tell(f"wrote     {request.out}")
    return open_bundle(request.out)


# -------------------------------------------------------------------------------------------------------------- reading
def _read(request: AdoptRequest, tell: Tell) -> tuple[Adopted, Reference]:
    path = request.model
    is_tflite = path.suffix.lower() == ".tflite"
    model = convert(path, _inside(request)) if is_tflite else _load(path)
    signature = signature_of(model)
    family = _family(request, signature)
    places = place_inputs(signature) if family.kind == GEO else ()
    scores, further = scores_output(family, signature), further_outputs(family, signature)
    tell(f"read      {path.name}, {family.name or 'described by its card'}: {signature}")
    labels = _labels(request, family, signature.outputs[scores][-1])
    samples = _samples(family, signature)
    if len(places) == len(PLACE):
        model = with_one_input(model, places)
    fixed = fitted(model, [scores, *further.values()], samples)
    card = _card(request, family, labels, fixed, (scores, further))
    onnx.helper.set_model_props(fixed, {entry.key: entry.value for entry in fixed.metadata_props} | essentials(card))
    parts = Parts({}, (), ()) if family.kind == GEO else parts_of(fixed)
    adopted = Adopted(fixed, parts, replace(card, images=parts.images, maps=parts.maps))
    return adopted, _reference(path, is_tflite, scores, places or tuple(signature.inputs))


def _inside(request: AdoptRequest) -> list[str]:
    """Names of tensors within a .tflite file that become outputs: of every family, and those that the card names."""
    families = [*FAMILIES.values(), *([described(request.card, None)] if request.card else [])]
    return [name for family in families for names in family.further.values() for name in names]


def _load(path: Path) -> ModelProto:
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file") from None
    except Exception as error:  # whatever protobuf, or a missing file of weights, raises
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{path}: not an ONNX file, nor a .tflite one: {reason[0][:200]}") from error


def _family(request: AdoptRequest, signature: Signature) -> ModelFamily:
    if request.card is None:
        return recognised(signature, request.family)
    known = recognised(signature, request.family) if request.family else None
    family = described(request.card, known)
    require_outputs(request.card, family, known or ModelFamily(""), signature)
    return family


def _labels(request: AdoptRequest, family: ModelFamily, classes: int | None) -> tuple[Label, ...]:
    if request.labels is None:
        raise LabelError(f"--labels is missing: the list of classes that came with the model, {family.labels}")
    labels = read_model_labels(request.labels)
    if classes is not None and len(labels) != classes:
        raise LabelError(f"{request.labels}: {len(labels)} classes, but the model has {classes}: it is another's list")
    return labels


def _samples(family: ModelFamily, signature: Signature) -> int:
    """What a window has. Raises ExportError where neither the graph nor anybody else says it."""
    (shape, *_others) = signature.inputs.values()
    found = shape[1] if family.kind != GEO and len(shape) == 2 else None
    samples = family.window_samples or found
    if samples is None or found not in (None, samples):
        raise ExportError(f"the graph takes {list(shape)}: window_samples {family.window_samples} does not fit")
    if family.sample_rate is None:
        raise ExportError("nobody says at which rate the model hears: sample_rate in --card FILE.toml")
    return samples


def _card(
    request: AdoptRequest,
    family: ModelFamily,
    labels: tuple[Label, ...],
    model: ModelProto,
    outputs: tuple[str, Mapping[str, str]],
) -> Card:
    """All but what is proven. outputs: the name of the scores, and of what else is kept."""
    (scores, further), signature = outputs, signature_of(model)
    ((source, taken),) = signature.inputs.items()
    assert family.sample_rate is not None and taken[1] is not None  # noqa: PT018
    tensors = {
        name: Tensor(name, tuple(BATCH if n is None else n for n in shape)) for name, shape in signature.outputs.items()
    }
    codes = {label.scientific_name or label.code: label.code for label in labels}
    return Card(
        labels=labels,
        sample_rate=family.sample_rate,
        window_samples=taken[1],
        input=Tensor(source, (BATCH if taken[0] is None else taken[0], taken[1])),
        output=Tensor(scores, (tensors[scores].shape[0], len(labels))),
        precisions={},
        activation=family.activation,
        sensitivity=family.sensitivity,
        scaling=family.scaling,
        outputs={what: tensors[name] for what, name in further.items()},
        not_birds={codes[name]: what for name, what in family.not_birds.items() if name in codes},
        provenance=Adoption(family.name, request.model.name, file_sha256(request.model), family.licence, family.source),
        kind=family.kind,
        edgebird=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def _reference(path: Path, is_tflite: bool, scores: str, inputs: tuple[str, ...]) -> Reference:
    if is_tflite:
        return LiteRt(path, scores)
    return PlainOrt(path, scores, inputs)


# --------------------------------------------------------------------------------------------------------------- proof
def _what(card: Card) -> str:
    return "places" if card.kind == GEO else "golden windows"


def _golden(path: Path, golden: GoldenData, silence: Silence) -> Golden:
    """What the card says of the golden data in a file."""
    floored = len(silence.windows)
    counts = len(golden.names), len(set(golden.recordings)), floored
    return Golden(path.name, file_sha256(path), *counts, silence.moved if floored else 0.0)


def _tell_silence(model: ModelProto, card: Card, silence: Silence, tell: Tell) -> None:
    """What nothing is held to, and how far the graph is off there. Raises ScoreError for what is no score."""
    assert card.golden is not None
    if told := card.golden.told_silence(card.reference):
        tell(f"silence   {told}")
        found = run_in_batches(scorer(model), silence.windows, card, 1)
        check_finite(found)
        tell(f"          without it the graph differs there by up to {np.abs(found - silence.scores).max():.1e}")


def _proven(model: ModelProto, card: Card, golden: GoldenData, tell: Tell) -> Parity:
    """The graph's parity at every batch size that an adopted model is proven at. Raises ParityError."""
    run = scorer(model)
    proof = prove(
        lambda windows: run_in_batches(run, windows, card), golden, card.proof_sizes(), card.tolerance("fp32")
    )
    parity = proof.require(f"the graph does not score as {card.reference} does", card.codes)
    sizes = ", ".join(map(str, card.proof_sizes()))
    tell(f"proven    largest score difference {parity.max_abs:.1e}, {sizes} at once, against {card.reference}")
    tell(f"          {told_bound(parity.beyond, parity.windows, len(set(golden.recordings)))}")
    return parity


def _described(folder: Path, model: ModelProto, card: Card, parity: Parity, tell: Tell) -> Precision:
    """What the card says of the graph, with the engines that do not take it."""
    found = lint(model)
    for engine, nodes in found.items():
        if nodes:
            first, reason = next(iter(nodes.items()))
            more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
            tell(f"lint      {engine} will not take {first}{more}: {reason}")
    opset = next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    tolerance = asdict(card.tolerance("fp32"))
    return Precision(_GRAPH, file_sha256(folder / _GRAPH), opset, tolerance, parity.to_json(), lint=found)
