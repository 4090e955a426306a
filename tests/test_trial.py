"""What convolutions in INT8 cost together: measured as a whole walk would, without computing what is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from edgebird.export.families.folds.family import FOLDS  # noqa: E402
from edgebird.export.precisions import int8  # noqa: E402
from edgebird.export.precisions.audio import read_calibration  # noqa: E402
from edgebird.export.precisions.stepwise import Stepwise  # noqa: E402
from edgebird.export.precisions.trial import Trial  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402


def in_int8_of(quantized: Any, names: set[str]) -> Any:
    """Replaces the outputs of these convolutions by what they are in INT8."""
    return lambda node, values: (
        quantized[node.name].compute(node, values[node.input[0]]) if node.name in names else None
    )


def test_of_an_ensemble_only_the_network_that_changed_is_computed_again(
    in_int8: tuple[Bundle, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four full-size folds took half an hour to choose; a wrong map of another fold would choose wrongly."""
    network = Stepwise(fp32_graph(onnx.load(in_int8[0].model())))
    audio = read_calibration([], FOLDS)[0].audio[:4]
    first, second = network.parts()
    assert [*first.nodes, *second.nodes] == network.nodes
    with torch.inference_mode():
        quantized = int8._calibrated(network, audio, int8._ranges(network, audio), lambda _line: None)
        trial = Trial(network, quantized, audio)
        low = {part.convolutions[3].name for part in (first, second)}
        both = trial._scores(frozenset(low), 0)
        computed: list[str] = []
        compute = network.compute

        def noting(node: Any, values: Any) -> Any:
            computed.append(node.name)
            return compute(node, values)

        monkeypatch.setattr(network, "compute", noting)
        more = {*low, second.convolutions[1].name}
        found = trial._scores(frozenset(more), 0)
        assert {*computed, *more} >= {node.name for node in second.nodes}
        assert not {node.name for node in first.nodes} & set(computed)

        for names, scores in ((low, both), (more, found)):
            wanted = network.scores(network.walk(network.images(audio), in_int8_of(quantized, names)))
            np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-6)
        assert np.abs(found - both).max() > 1e-5, "the change is not seen"
