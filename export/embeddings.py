"""The proof of embeddings: the graph gives what the network's poolings give."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgebird.errors import ParityError
from edgebird.export import graph
from edgebird.runtimes.ort_session import session_of
from edgebird.types import FloatArray

TOLERANCE = 1e-3  # of the largest number in the embeddings


def check_embeddings(network: nn.Module, model: onnx.ModelProto, windows: FloatArray) -> float:
    """Return by how much the graph's embeddings are off, as a part of the largest number in them.

    network: the frozen one, see `Originals.freeze`. windows: float32 [batch, window_samples]. Raises ParityError.
    """
    pooled: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, features: Tensor) -> None:
        pooled.append(features)

    folds = list(network.get_submodule("fold").children())
    hooks = [fold.get_submodule("pool").register_forward_hook(keep) for fold in folds]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(windows))
    finally:
        for hook in hooks:
            hook.remove()
    wanted = torch.cat(pooled, dim=1).numpy()
    (found,) = session_of(model.SerializeToString()).run([graph.EMBEDDINGS], {graph.INPUT: windows})
    if found.shape != wanted.shape:
        raise ParityError(f"embeddings are {list(found.shape)}, the network's {list(wanted.shape)}")
    off = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not off <= TOLERANCE:
        raise ParityError(f"embeddings are off by {off:.1e} of their largest number: at most {TOLERANCE:g} is allowed")
    return off
