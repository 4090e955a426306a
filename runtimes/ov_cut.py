"""A graph cut at named tensors, so that its parts are computed in precisions of their own.

OpenVINO takes one precision for all of a model. bf16 and float16 are the backbone's alone: frontend, pooling and head
stay in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgebird.bundle import Bundle
from edgebird.errors import BundleError


def parts_of(model: Any, bundle: Bundle) -> list[tuple[Any, bool]]:
    """Frontend, backbone, and pooling with head, each with whether it is the backbone. `model` is used up.

    The model is cut at the card's images and maps; a stage of a cascade at those that it has. A stage that is given its
    images has no frontend. Raises BundleError where there is no backbone to be found.
    """
    card = bundle.card
    if not (card.images and card.maps):
        raise BundleError(f"{bundle.path}: bf16 needs a card that names images and maps: export the bundle again")
    found, given = set(_ports(model)), {name for port in model.inputs for name in port.get_names()}
    images, maps = card.images, card.maps
    if given != {card.input.name}:
        images, maps = (tuple(name for name in names if name in found - given) for names in (images, maps))
    if not maps:
        raise BundleError(f"{bundle.path}: its card names no map that a stage of its cascade has")
    parts = []
    if images:
        frontend, model = _cut(model, images, bundle)
        parts.append((frontend, False))
    backbone, tail = _cut(model, maps, bundle)
    return [*parts, (backbone, True), (tail, False)]


def _ports(model: Any) -> dict[str, Any]:
    return {name: port for node in model.get_ordered_ops() for port in node.outputs() for name in port.get_names()}


def _cut(model: Any, names: Sequence[str], bundle: Bundle) -> tuple[Any, Any]:
    """Two models: one up to the named tensors, one that takes them, in this order, and what else it needs of `model`'s
    inputs.
    """
    import openvino as ov
    from openvino import opset13

    found = _ports(model)
    if missing := [name for name in names if name not in found]:
        raise BundleError(f"{bundle.path}: its card names {missing[0]!r}, which its graph does not have")
    results, parameters = model.get_results(), model.get_parameters()
    ports, inputs = [found[name] for name in names], []
    for name, port in zip(names, ports, strict=True):
        taken = opset13.parameter(port.get_partial_shape(), port.get_element_type())
        taken.output(0).set_names({name})
        for reader in port.get_target_inputs():
            reader.replace_source_output(taken.output(0))
        inputs.append(taken)
    before, behind = _needed([port.get_node() for port in ports]), _needed(results)
    return (
        ov.Model(ports, [one for one in parameters if one.get_friendly_name() in before], "first"),
        ov.Model(results, inputs + [one for one in parameters if one.get_friendly_name() in behind], "rest"),
    )


def _needed(nodes: Sequence[Any]) -> set[str]:
    """Names of all nodes that these are computed from, with their own."""
    names: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return names
