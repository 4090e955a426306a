"""Where the time of an inference goes: told by engines that know it, and never guessed for those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from edgebird.benchmarks import split
from edgebird.benchmarks.material import Material, read_material
from edgebird.benchmarks.subjects import Subject
from edgebird.bundle import open_bundle
from edgebird.demo import BUNDLE
from edgebird.runtimes import open_runtime
from edgebird.types import FloatArray


def subject(runtime: Any) -> Subject:
    return Subject(runtime, "fp32", None)


class Engine:
    """Times its parts, each time a millisecond slower; says what its times have in them."""

    name = "engine"

    def __init__(self, *parts: str) -> None:
        self.parts, self.given = parts, list[tuple[int, ...]]()

    def split(self, windows: FloatArray) -> Mapping[str, float]:
        self.given.append(windows.shape)
        return {part: float(len(self.given)) for part in self.parts}

    def includes(self, batch: int) -> str:
        return f"copies of {batch} windows"


@pytest.fixture(scope="module")
def material() -> Material:
    return read_material((), open_bundle(BUNDLE).card, 2.5)


def test_an_engine_that_times_its_parts_is_asked_for_the_batch_that_is_measured(material: Material) -> None:
    engine = Engine("copy", "compute")
    told = split.measure(open_bundle(BUNDLE), subject(engine), 2, material)
    assert told == {"parts_ms": {"copy": np.median(range(1, 21)), "compute": np.median(range(1, 21))}}
    assert set(engine.given) == {(2, open_bundle(BUNDLE).card.window_samples)}


def test_an_engine_of_one_part_says_so(material: Material) -> None:
    told = split.measure(open_bundle(BUNDLE), Subject(cast(Any, Engine()), "fp32", None), 1, material)
    assert told["unknown"].endswith("runs as one part")


def test_parts_that_nobody_tells_are_unknown_and_not_zero(material: Material) -> None:
    told = split.measure(open_bundle(BUNDLE), subject(open_runtime(open_bundle(BUNDLE), "null")), 1, material)
    assert told == {"unknown": "null does not tell its parts for this bundle"}


def test_what_a_sample_has_in_it_is_told_by_the_engine_or_known_of_it() -> None:
    """Times with and without copies to a GPU must not be compared."""
    runtime = open_runtime(open_bundle(BUNDLE), "null")
    assert split.includes(subject(Engine()), 3) == "copies of 3 windows"
    assert split.includes(subject(runtime), 1) == "all in the CPU's memory, no copies to a device"
    runtime.name = "openvino-gpu"
    assert split.includes(subject(runtime), 1) == "copies to and from the GPU"
