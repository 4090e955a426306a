"""What this computer made itself is kept apart from bundles, for each GPU, version and driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgebird.runtimes.trt.trust import kernel_cache, note_built, timing_cache, was_built_here
from tests.test_trt_sidecar import DESKTOP, ORIN


def test_what_holds_for_one_gpu_is_not_taken_for_another() -> None:
    """Every Orin has the same name and capability."""
    assert timing_cache(ORIN, "10.3.0").name == "timing.orin.sm87.16mp.10.3.0.cache"
    places = [ORIN, replace(ORIN, multiprocessors=8), DESKTOP]
    assert len({timing_cache(gpu, version) for gpu in places for version in ("10.3.0", "10.13.3")}) == 6
    first = kernel_cache(DESKTOP, "1.7.1", "a" * 64)
    others = (replace(DESKTOP, driver_release="580.82"), "1.7.1", "a" * 64), (DESKTOP, "1.7.1", "b" * 64)
    assert len({first, *(kernel_cache(*other) for other in others)}) == 3


def test_another_user_has_built_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    note_built("a" * 64)
    assert was_built_here("a" * 64)
    assert not was_built_here("b" * 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    assert not was_built_here("a" * 64)
