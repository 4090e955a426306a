"""bf16 as it is run: OpenVINO makes it of a graph, where the CPU has it. So the export proves it there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from edgebird.bundle import CARD_FILE, Bundle
from edgebird.card import OPSET, Card, Precision
from edgebird.errors import RuntimeUnavailableError
from edgebird.files import file_sha256
from edgebird.parity import BF16_OF
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.runtimes.outputs import Score


class Bf16:
    """What is made in bf16 of the graphs of a card, on this machine.

    card: of the bundle that is being made. tell: takes a line where this machine does not make it.
    """

    def __init__(self, card: Card, tell: Callable[[str], None]) -> None:
        self._card, self._tell = card, tell

    @contextmanager
    def __call__(self, precision: str, model: ModelProto) -> Iterator[Score | None]:
        """What scores with a graph in the precision that is made of it; None where that is not to be had."""
        with tempfile.TemporaryDirectory(prefix="edgebird-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            graph = Precision(path.name, file_sha256(path), OPSET)
            card = replace(self._card, precisions={BF16_OF[precision]: graph}, golden=None)
            (path.parent / CARD_FILE).write_bytes(card.to_bytes())
            try:
                runtime = open_runtime(Bundle(path.parent, card), "openvino", RuntimeOptions(precision))
            except RuntimeUnavailableError as error:
                self._tell(f"{precision:<9} not proven here: {error}")
                yield None
                return
            try:
                yield runtime.infer
            finally:
                runtime.close()
