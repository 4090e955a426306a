"""The sidecar of an engine: what it says comes back, and where its proof holds. Loaded: test_trt_runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgebird.bundle import Bundle
from edgebird.card import Tensor
from edgebird.runtimes.trt.gpu import Gpu
from edgebird.runtimes.trt.sidecar import Sidecar, build_command, engine_path, proof_place, read_sidecar
from tests.foreign import tone_card

ORIN = Gpu("Orin", "sm87", 16, True, 8 << 30, "12.6", "12.6", None)
DESKTOP = Gpu("RTX 4090", "sm89", 128, False, 24 << 30, "13.0", "12.8", "580.65.06")


def sidecar(**changes: Any) -> Sidecar:
    made = Sidecar(
        runtime="tensorrt", version="10.3.0", precision="fp32", engine="model.fp32.tensorrt.engine",
        engine_sha256="a" * 64, engine_bytes=5, onnx_sha256="b" * 64, opset=17, platform="Linux aarch64", l4t="36.4.3",
        gpu={"name": "Orin"}, capabilities=("sm87",), kept_fp32=("stem.conv1",), flags=("VERSION_COMPATIBLE",),
        tf32=False, hardware_compatibility="NONE", optimization_level=3, workspace_bytes=1 << 30,
        profiles=({"min": (1, 40000)},), inputs=(Tensor("sound", ("batch", 40000)),),
        outputs=(Tensor("birds", ("batch", 3)),), dtypes={"sound": "float32"}, timing_cache=None, build_seconds=1.5,
        peak_memory={"process": 1}, edgebird="0.1.0", created="2026-01-01T00:00:00Z",
    )  # fmt: skip
    return replace(made, **changes)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    sidecar().write(tmp_path / "engine.json")
    found = read_sidecar(tmp_path / "engine.json")
    assert replace(found, profiles=({"min": (1, 40000)},)) == sidecar()
    assert found.profiles == ({"min": [1, 40000]},)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "sidecar format 2, this edgebird reads 1"),
        ({"format": None}, "sidecar format None"),
        ({"colour": "green"}, "not a sidecar: .*'colour'"),
        ({"flags": None}, "not a sidecar: "),
        ({"inputs": [{"name": "sound"}]}, "not a sidecar: 'shape'"),
    ],
)
def test_what_is_no_sidecar_is_told(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    """With a guess in place of a field a wrong engine could be loaded: it hears the wrong birds in silence."""
    path = tmp_path / "engine.json"
    sidecar().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=told):
        read_sidecar(path)


def test_a_proof_holds_where_it_was_made_and_nowhere_else() -> None:
    proven = sidecar(parity={"max_abs": 1e-6, **proof_place("tensorrt", ORIN, "10.3.0")})
    assert proven.proven_on(ORIN, "10.3.0")
    assert proven.proven_on(replace(ORIN, driver="13.5", driver_release="999"), "10.3.0")
    assert not proven.proven_on(ORIN, "10.3.1")
    assert not proven.proven_on(replace(ORIN, multiprocessors=8), "10.3.0"), "an Orin Nano is no Orin AGX"
    assert not proven.proven_on(DESKTOP, "10.3.0")
    assert not sidecar().proven_on(ORIN, "10.3.0"), "it was never proven"


def test_a_proof_of_tensorrt_rtx_holds_for_one_driver() -> None:
    """It makes its kernels when the engine is opened, in the driver; an old one tells no release."""
    assert proof_place("tensorrt-rtx", DESKTOP, "1.7")["driver"] == "580.65.06"
    assert proof_place("tensorrt-rtx", replace(DESKTOP, driver_release=None), "1.7")["driver"] == "13.0"
    assert "driver" not in proof_place("tensorrt", DESKTOP, "10.3.0")


def test_the_command_that_builds_it_can_be_pasted() -> None:
    """A folder of two words would be two arguments."""
    bundle = Bundle(Path("my birds"), tone_card(8000, "batch"))
    assert build_command(bundle, "tensorrt", "fp16", rebuild=True) == (
        "edgebird build 'my birds' --runtime tensorrt --precision fp16 --rebuild"
    )
    assert engine_path(Path("engines"), "tensorrt", "fp16") == Path("engines/model.fp16.tensorrt.engine")
