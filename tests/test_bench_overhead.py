"""What edgebird itself costs, beside an engine called as its own examples do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.benchmarks import overhead
from edgebird.benchmarks.material import read_material
from edgebird.benchmarks.subjects import Subject
from edgebird.bundle import Bundle
from edgebird.runtimes import open_runtime
from tests.benching import measured
from tests.conftest import require
from tests.foreign import tone_bundle


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


def test_what_edgebird_itself_costs_is_told_beside_the_bare_session(tones: Bundle) -> None:
    own = measured(tones)["overhead"]
    assert own["share"] == pytest.approx(own["null_ms"] / own["bare_ms"])
    runtime = open_runtime(tones, "null")
    runtime.name = "openvino"  # whose session is not called bare, and whose bf16 is no graph of the bundle
    told = overhead.measure(tones, Subject(runtime, "bf16", None), read_material((), tones.card, 2.5), 2.5)
    assert told.keys() == {"null_ms"}
