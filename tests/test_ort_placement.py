"""Which nodes go to the CPU: what a refused GPU session does not say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgebird.bundle import Bundle
from edgebird.runtimes import ort_placement
from tests.conftest import require
from tests.foreign import tone_bundle


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


def test_nothing_is_imported_from_where_edgebird_was_started(
    tmp_path: Path, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of foreign recordings may hold a json.py."""
    require("onnxruntime")
    (tmp_path / "json.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert ort_placement.left_to_cpu(tones.model(), "NoSuchProvider") == []
    assert not (tmp_path / "ran").exists()


def test_the_log_of_older_versions_is_read() -> None:
    place = "2026-01-01 10:00:00.1 [V:onnxruntime:, session_state.cc:13 VerifyEachNodeIsAssignedToAnEp] "
    lines = [
        f"\x1b[0;93m{place} Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2\x1b[m",
        f"{place}  Pad (frontend/0/frames/Pad)",
        "2026-01-01 10:00:00.1 [I:onnxruntime:, other.cc:1 Other] Something (else)",
        f"{place}  ReduceMax (a (b))",
        f"{place} Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 1",
        f"{place}  Conv (stem.conv1)",
    ]
    found = [(placed.operator, placed.node) for placed in ort_placement._from_log("\n".join(lines))]
    assert found == [("Pad", "frontend/0/frames/Pad"), ("ReduceMax", "a (b)")]


@pytest.mark.parametrize(
    ("stdout", "exit_code"),
    [
        ("", 0),  # a library that ended the process
        ('edgebird placement [["Pad", "a"]]', 1),
        ("*** EP Error ***\nFalling back to CPU and retrying.", 0),
    ],
)
def test_a_child_without_an_answer_names_no_nodes(stdout: str, exit_code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, exit_code, stdout, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDAExecutionProvider") == []


@pytest.mark.parametrize("error", [OSError("no memory"), subprocess.TimeoutExpired("python", 120)])
def test_a_child_that_cannot_run_leaves_the_refusal_as_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", run)
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDAExecutionProvider") == []


def test_what_a_library_prints_is_not_taken_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> Any:
        stdout = 'a banner\nedgebird placement [["Pad", "frontend/Pad"]]\nanother'
        return subprocess.CompletedProcess(command, 0, stdout, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDAExecutionProvider") == [
        ort_placement.Placed("Pad", "frontend/Pad")
    ]
