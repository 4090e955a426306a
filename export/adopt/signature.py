"""Inputs, outputs and metadata of a graph, and which family of published models has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, TensorProto, ValueInfoProto

from edgebird.card import GEO, PLACE
from edgebird.errors import ExportError
from edgebird.export.adopt.families import FAMILIES, ModelFamily

_GEO_NAMES = (("lat",), ("lon", "lng"), ("week",))
_NAME_KEYS = ("model_name", "name", "family", "description")


@dataclass(frozen=True, slots=True)
class Signature:
    """name -> shape of inputs and outputs, in the graph's order; a free dimension is None. metadata: of the file."""

    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        both = [*self.inputs.items()], [*self.outputs.items()]
        took, gave = (", ".join(f"{name} {_told(shape)}" for name, shape in part) for part in both)
        return f"{took} -> {gave}"


def _told(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def signature_of(model: ModelProto) -> Signature:
    """Of a graph. Raises ExportError for inputs or outputs that are no float32 tensors."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: _shape(value) for value in model.graph.input if value.name not in constants}
    outputs = {value.name: _shape(value) for value in model.graph.output}
    return Signature(inputs, outputs, {entry.key: entry.value for entry in model.metadata_props})


def _shape(value: ValueInfoProto) -> tuple[int | None, ...]:
    tensor = value.type.tensor_type
    if tensor.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ExportError(f"{value.name} is {kind}, wanted float32: adopt the model's float32 file")
    return tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in tensor.shape.dim
    )


def recognised(signature: Signature, asked: str | None = None) -> ModelFamily:
    """The family that a graph is of, by names and shapes; `asked`: the one that its user names, if it fits.

    Raises ExportError saying what the graph has.
    """
    if asked is not None:
        if asked not in FAMILIES:
            raise ExportError(f"--as {asked}: wanted {', '.join(FAMILIES)}")
        if why := _misfit(FAMILIES[asked], signature):
            raise ExportError(f"this is no {asked}: {why}; it is {signature}")
        return FAMILIES[asked]
    named = " ".join(signature.metadata.get(key, "") for key in _NAME_KEYS).lower()
    fitting = [family for family in FAMILIES.values() if not _misfit(family, signature)]
    told = [family for family in fitting if family.name in named]
    for choice in (told, fitting):
        if len(choice) == 1:
            return choice[0]
    which = f"it may be {' or '.join(family.name for family in fitting)}: say --as" if fitting else "no family has"
    raise ExportError(f"{which} {signature}; or describe it with --card FILE.toml (docs/models.md)")


def _misfit(family: ModelFamily, signature: Signature) -> str:
    """What does not fit, "" if all does."""
    if family.kind == GEO:
        return "" if place_inputs(signature) else f"it does not take {', '.join(PLACE)}"
    if len(signature.inputs) != 1:
        return f"it has {len(signature.inputs)} inputs"
    (shape,) = signature.inputs.values()
    if len(shape) != 2 or shape[1] not in (None, family.window_samples):
        return f"it does not take [batch, {family.window_samples}]"
    for what, names in family.further.items():
        # BirdNET v2.4 comes with its embeddings and without.
        if not set(names) & signature.outputs.keys() and (family.classes is None):
            return f"it has no output {' or '.join(names)}, which are its {what}"
    try:
        scores = scores_output(family, signature)
    except ExportError as error:
        return str(error)
    classes = signature.outputs[scores][-1]
    if family.classes is not None and classes != family.classes:
        return f"it has {classes} classes, not {family.classes}"
    return ""


def scores_output(family: ModelFamily, signature: Signature) -> str:
    """The name of the output that is scored: one of the family's, or the only one that is nothing else.

    Raises ExportError where that is not clear.
    """
    known = [name for name in family.scores if name in signature.outputs]
    if family.scores and not known:
        raise ExportError(f"it has no output {' or '.join(family.scores)}")
    if known:
        return known[0]
    further = [family.further, *(known.further for known in FAMILIES.values())]
    others = {name for its in further for names in its.values() for name in names}
    left = [name for name, shape in signature.outputs.items() if name not in others and len(shape) == 2]
    if len(left) != 1:
        raise ExportError(f"which of its outputs are the scores is not clear: {', '.join(signature.outputs)}")
    return left[0]


def further_outputs(family: ModelFamily, signature: Signature) -> dict[str, str]:
    """What else is kept -> the output's name in the graph."""
    found = {}
    for what, names in family.further.items():
        for name in names:
            if name in signature.outputs and all(signature.outputs[name][1:]):
                found[what] = name
                break
    return found


def require_outputs(path: Path, family: ModelFamily, known: ModelFamily, signature: Signature) -> None:
    """Raise ExportError for an output that a card's file names and the graph lacks. known: what it was put upon."""
    named = set(family.scores) - set(known.scores)
    named |= {name for what, names in family.further.items() if names != known.further.get(what) for name in names}
    if missing := sorted(named - signature.outputs.keys()):
        raise ExportError(f"{path}: the model has no output {missing[0]!r}, it is {signature}")


def place_inputs(signature: Signature) -> tuple[str, ...]:
    """The inputs of a geographic model: one that takes all three, or one for each; () if it is none."""
    if len(signature.inputs) == 1:
        (name,), (shape,) = signature.inputs, signature.inputs.values()
        return (name,) if len(shape) == 2 and shape[1] == len(PLACE) else ()
    if len(signature.inputs) != len(PLACE) or any(shape[1:] not in ((), (1,)) for shape in signature.inputs.values()):
        return ()
    found = [name for words in _GEO_NAMES for name in signature.inputs if any(word in name.lower() for word in words)]
    return tuple(found) if len(set(found)) == len(PLACE) else ()
