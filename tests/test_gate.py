"""The gate: a graph that scores otherwise is refused, with the window and the block that show it."""

from __future__ import annotations

from tests.conftest import require

require("torch")
require("onnx")


from edgebird.export.precisions import audio, fp16  # noqa: E402
from edgebird.export.precisions.gate import Fault, Known, judge  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402


def test_a_graph_that_fails_names_the_worst_window_and_the_suspected_block() -> None:
    """1000 is added and taken away again in the stem: on a CPU nothing shows, in FP16 quarters are lost."""
    model = toy(1, 1, offset=1000.0)
    heard = levels(0.5, 0.1234, 0.0)
    evidence = Known("held out", audio.HeldOut(heard, heard[:, :1], ("robin", "wren", "owl")), 1)
    fault = judge(fp16.to_fp16(fp32_graph(model), heard, heard), [evidence])
    assert isinstance(fault, Fault)
    told = str(fault.error())
    assert "fp16 (rounded) is not written: scores differ by up to 0.12" in told
    assert "worst held out window 'wren'; suspected: stem (" in told
    assert "\n" not in told


def test_scores_that_are_not_finite_fail_and_are_traced_too() -> None:
    """Audio louder than what the ranges were taken from."""
    model, loud = toy(1000, 1), levels(1.0, 100.0)
    evidence = Known("held out", audio.HeldOut(loud, 1000 * loud[:, :1], ("robin", "thunder")), 1)
    fault = judge(fp16.to_fp16(fp32_graph(model), levels(1.0), levels(1.0)), [evidence])
    assert isinstance(fault, Fault)
    assert "scores of 1 windows are not finite, first held out window 'thunder'; susp" in str(fault.error())
