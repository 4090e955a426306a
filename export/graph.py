"""The ONNX graph: exported from the frozen network, simplified, named, checked."""

from __future__ import annotations

import ast
import logging
import re
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager

import onnx
import onnx_ir
import onnxscript  # noqa: F401  torch's exporter needs it: better said at once than after the freezing
import torch
from onnx import ModelProto, NodeProto
from onnx_ir.passes import common as passes
from torch import nn

from edgebird.card import OPSET
from edgebird.errors import ExportError

MAX_BYTES = 2**31 - 1  # of a protobuf message, and so of an ONNX file without external data
INPUT, OUTPUT, BATCH = "audio", "scores", "batch"
EMBEDDINGS = "embeddings"
_SCOPES = "pkg.torch.onnx.name_scopes"


def to_onnx(network: nn.Module, window_samples: int) -> ModelProto:
    """Export: `audio` float32 [batch, window_samples] -> `scores` float32 [batch, classes], as torch writes it."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if weights > MAX_BYTES:
        raise ExportError(f"the folds make a graph of {weights / 1e9:.1f} GB: an ONNX file holds 2.1, use fewer folds")
    example = torch.zeros(2, window_samples)
    batch = torch.export.Dim(BATCH)
    with _quiet():
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes=({0: batch},),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None  # only None when a path is given
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporter from talking of torchvision, which is not used, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def simplify(model: ModelProto) -> ModelProto:
    """Fold constants, merge what is equal, drop the exporter's metadata, and name every node after its place."""
    import onnxscript.optimizer

    with _quiet():
        ir = onnx_ir.from_proto(model)
        onnxscript.optimizer.optimize_ir(ir)
        for step in (
            passes.CommonSubexpressionEliminationPass(),
            passes.LiftConstantsToInitializersPass(lift_all_constants=True),
            passes.DeduplicateInitializersPass(),
            passes.RemoveUnusedNodesPass(),
        ):
            step(ir)
        model = onnx_ir.to_proto(ir)
    _rename(model)
    return _strip(model)


def with_embeddings(model: ModelProto) -> ModelProto:
    """Add the output `embeddings`, [batch, sum of the folds' features]: what each fold's head reads, in their order.

    Raises ExportError for a graph without heads.
    """
    read = [node.input[0] for node in model.graph.node if re.fullmatch(r"(fold\.\d+/)?head/linear", node.name)]
    if not read:
        raise ExportError("the graph has no heads behind features: it gives no embeddings")
    node = onnx.helper.make_node("Concat", read, [EMBEDDINGS], name=EMBEDDINGS, axis=1)
    model.graph.node.append(node)
    output = onnx.helper.make_tensor_value_info(EMBEDDINGS, onnx.TensorProto.FLOAT, [BATCH, None])
    model.graph.output.append(output)
    return model


def embeddings_width(model: ModelProto) -> int:
    """Return how many numbers an embedding has, of a model that is finished."""
    (output,) = [one for one in model.graph.output if one.name == EMBEDDINGS]
    return int(output.type.tensor_type.shape.dim[1].dim_value)


def image_tensors(model: ModelProto) -> tuple[str, ...]:
    """Names of the tensors that hold the spectrogram images, [batch, 1, H, W]: outputs of the frontends."""
    inputs = {name for node in model.graph.node if not _in_frontend(node) for name in node.input}
    return tuple(name for node in model.graph.node if _in_frontend(node) for name in node.output if name in inputs)


def _in_frontend(node: NodeProto) -> bool:
    return node.name.startswith("frontend/")


# ------------------------------------------------------------------------------------------------------------- naming
def _rename(model: ModelProto) -> None:
    """Name nodes, their outputs and anonymous constants after the module they come from.

    `stages.2.3.conv2b` for a layer that is one node, `stages.2.3.act/Mul` for a node of a larger one; `frontend/...`,
    `pool/...`, `head/...`; in an ensemble with the fold or frontend before it: `fold.1/stages.2.3.conv2b`.
    """
    graph = model.graph
    scopes = [_scope(node) for node in graph.node]
    counts = Counter(kind for kind, _index in {tuple(scope.split(".")[:2]) for scope in scopes if scope})
    several = {kind for kind, count in counts.items() if count > 1}
    places = [_place(scope, several) for scope in scopes]
    layers = Counter(places)
    taken: Counter[str] = Counter()
    names = {INPUT: INPUT, OUTPUT: OUTPUT}
    for node, place in zip(graph.node, places, strict=True):
        whole = layers[place] == 1 and node.op_type in ("Conv", "Gemm", "AveragePool")
        name = place if whole else f"{place}/{node.op_type}"
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"
        for output in node.output:
            names.setdefault(output, node.name)
    for tensor in graph.initializer:
        names[tensor.name] = _weight_name(tensor.name, graph.node, several)
    for node in graph.node:
        node.input[:] = [names[value] if value else "" for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]


def _scope(node: NodeProto) -> str:
    """The dotted name of the innermost module a node comes from, `` for the network itself."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ""


def _place(scope: str, several: Container[str]) -> str:
    """`fold.0.stages.1.0.conv1` -> `stages.1.0.conv1`, `frontend.0.spectrum` -> `frontend/spectrum`.

    several: `fold`, `frontend` if there is more than one; only then its index is part of the place.
    """
    if not scope:
        return "folds"
    kind, index, *rest = scope.split(".")
    if kind == "frontend":
        return "/".join([kind, *([index] if kind in several else []), *rest])
    prefix = f"fold.{index}/" if kind in several else ""
    if rest and rest[0] in ("pool", "head"):
        return prefix + "/".join(rest)
    return prefix + ".".join(rest)


def _weight_name(name: str, nodes: Iterable[NodeProto], several: Container[str]) -> str:
    """A parameter's name by its module, `stages.0.0.conv1.weight`; a constant's by the first node that reads it."""
    if re.match(r"(fold|frontend)\.\d+\.", name):
        scope, _, parameter = name.rpartition(".")
        return f"{_place(scope, several)}.{parameter}"
    for node in nodes:
        if name in node.input:
            return f"{node.name}:{list(node.input).index(name)}"
    return name


def _strip(model: ModelProto) -> ModelProto:
    """Rebuild the model without the exporter's metadata (it holds stack traces with local paths)."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    graph = onnx.helper.make_graph(
        list(model.graph.node), "edgebird", list(model.graph.input), list(model.graph.output),
        list(model.graph.initializer),
    )  # fmt: skip
    return onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=min(model.ir_version, 10),
        producer_name="edgebird",
    )


# -------------------------------------------------------------------------------------------------------------- checks
def finish(model: ModelProto, metadata: Mapping[str, str]) -> ModelProto:
    """Add the card's essentials and all shapes, then check the graph; raises ExportError naming what is wrong."""
    onnx.helper.set_model_props(model, dict(metadata))
    try:
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {str(error).splitlines()[0]}") from error
    return model
