"""The gate: a graph that scores otherwise is refused, with the window and the block that show it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

require("torch")
require("onnx")


from edgebird.export.precisions import audio, fp16, gate  # noqa: E402
from edgebird.export.precisions.gate import Candidate, Fault, Known, judge  # noqa: E402
from edgebird.export.precisions.lower import judge_made  # noqa: E402
from tests.seeded import fp32_graph  # noqa: E402
from tests.toy_graph import levels, toy  # noqa: E402


def test_a_graph_that_fails_names_the_worst_window_and_the_suspected_block() -> None:
    """1000 is added and taken away again in the stem: on a CPU nothing shows, in FP16 quarters are lost."""
    model = toy(1, 1, offset=1000.0)
    heard = levels(0.5, 0.1234, 0.0)
    evidence = Known("held out", audio.HeldOut(heard, heard[:, :1], ("robin", "wren", "owl")), 1, codes=("eurwre",))
    fault = judge(fp16.to_fp16(fp32_graph(model), heard, heard), [evidence])
    assert isinstance(fault, Fault)
    told = str(fault.error())
    assert "fp16 (rounded) is not written: scores differ by up to 0.12" in told
    assert "worst held out window 'wren', class 'eurwre', 1 of 3 windows beyond; suspected: stem (" in told
    assert "\n" not in told


def test_scores_that_are_not_finite_fail_and_are_traced_too() -> None:
    """Audio louder than what the ranges were taken from."""
    model, loud = toy(1000, 1), levels(1.0, 100.0)
    evidence = Known("held out", audio.HeldOut(loud, 1000 * loud[:, :1], ("robin", "thunder")), 1)
    fault = judge(fp16.to_fp16(fp32_graph(model), levels(1.0), levels(1.0)), [evidence])
    assert isinstance(fault, Fault)
    assert "scores of 1 windows are not finite, first held out window 'thunder'; susp" in str(fault.error())


def candidate(way: Any, blocks: dict[str, str], restored: Any = None) -> Candidate:
    return Candidate("fp16", way, {"as it is": way, "again": way}, blocks, restored or (lambda _names: way))


def known(name: str, windows: Any, scores: Any, group: int = 1) -> Known:
    return Known(name, audio.HeldOut(windows, scores, tuple(f"window {i}" for i in range(len(windows)))), group)


def test_a_graph_that_passes_is_told_with_the_parity_of_every_way_on_all_evidence() -> None:
    """The card says of each how far it was off: a proof that is missing there was never made."""
    heard = levels(0.5, 0.25)
    evidence = [known("golden", heard, heard[:, :1]), known("held out", heard[:1], heard[:1, :1] + np.float32(0.002))]
    proofs = judge(candidate(toy(1, 1), {}), evidence)
    assert isinstance(proofs, dict)
    assert {name: round(parity.max_abs, 3) for name, parity in proofs.items()} == {
        "golden, as it is": 0.0,
        "held out, as it is": 0.002,
        "golden, again": 0.0,
        "held out, again": 0.002,
    }


def test_windows_that_share_a_floor_are_judged_in_their_groups() -> None:
    """One by one they have other scores than the original gave."""
    sizes: list[int] = []
    heard = levels(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    evidence = known("golden", heard, heard[:, :1], group=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "scorer", lambda _model: lambda windows: sizes.append(len(windows)) or windows[:, :1])
        assert not isinstance(judge(candidate(toy(1, 1), {}), [evidence]), Fault)
    assert set(sizes) == {4}


def test_the_block_that_mends_most_is_suspected_first() -> None:
    """The reader is to look at one block of a network of hundreds."""
    heard, right = levels(0.5), toy(1, 1)
    broken = {"stem": toy(1.2, 1.0), "stages.0.0": right, "stages.0.1": toy(3.0, 1.0), "final_conv": toy(1.4, 1.0)}

    def restored(names: frozenset[str]) -> Any:
        (name,) = names
        return broken[name]

    wrong = candidate(toy(2, 1), {block: block for block in broken}, restored)
    fault = judge(wrong, [known("golden", heard, heard[:, :1])])
    assert isinstance(fault, Fault)
    assert "suspected: stages.0.0 (0 with it in FP32), stem (0.1 with it in FP32), final_conv (0.2 with" in str(
        fault.error()
    )


def test_a_graph_that_uses_up_all_of_the_tolerance_is_refused() -> None:
    """Other audio is worse than the worst that was heard, the more so for what was fitted to some."""
    heard = levels(*np.linspace(0.1, 0.9, 20))
    evidence = known("held out", heard, heard[:, :1] + np.float32(0.043))
    graph = toy(1, 1)
    fitted = Candidate("int8", graph, {"quantized": graph}, {}, lambda _names: graph)
    fault = judge(fitted, [evidence])
    assert isinstance(fault, Fault)
    assert str(fault).startswith("too close to the tolerance (80% of it may be used up, as other audio may be worse): ")
    within = known("held out", heard, heard[:, :1] + np.float32(0.039))
    assert not isinstance(judge(fitted, [within]), Fault)


def test_what_an_engine_makes_of_a_graph_has_a_gate_of_its_own() -> None:
    """INT8 with its rest in bf16 is what is run: proven with a float rest alone, it was beyond its tolerance."""
    heard, graph = levels(0.2, 0.4, 0.6), toy(1, 1)
    evidence = [known("golden", heard, heard[:, :1])]

    def engine(off: float) -> Any:
        return lambda _name, _model: nullcontext(lambda windows: windows[:, :1] + np.float32(off))

    (passed,) = judge_made("int8", graph, evidence, engine(0.03))
    assert (passed.precision, passed.refused) == ("int8+bf16", "")
    assert passed.proofs["golden, int8+bf16"].max_abs == pytest.approx(0.03, abs=1e-6)
    (refused,) = judge_made("int8", graph, evidence, engine(0.06))
    assert refused.refused.startswith("scores differ by up to 0.06")
    (broken,) = judge_made("fp32", graph, evidence, engine(float("nan")))
    assert (broken.precision, "not finite" in broken.refused) == ("bf16", True)
    assert judge_made("fp16", graph, evidence, engine(1.0)) == ()
