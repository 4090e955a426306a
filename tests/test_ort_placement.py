"""Which nodes a provider leaves to the CPU: as ONNX Runtime tells it, in whichever way its version does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgebird.runtimes import ort_placement
from edgebird.runtimes.ort_placement import Placed


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


def ran(monkeypatch: pytest.MonkeyPatch, stdout: str = "", stderr: str = "") -> None:
    done = subprocess.CompletedProcess([], 0, stdout, stderr)
    monkeypatch.setattr(ort_placement.subprocess, "run", lambda *_arguments, **_options: done)


def test_newer_versions_tell_it_in_the_last_line_after_what_a_library_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    ran(monkeypatch, 'a provider greets\n[["Det", "determinant"], ["Pad", ""]]\n', "ignored")
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDA") == [Placed("Det", "determinant"), Placed("Pad", "")]


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, "python"),
        subprocess.TimeoutExpired("python", 120),
        FileNotFoundError("python"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_child_that_fails_leaves_the_refusal_as_it_is(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the nodes are a help: their want must not replace the error that the user is to read."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(ort_placement.subprocess, "run", fail)
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDAExecutionProvider") == []


def test_a_log_without_a_heading_of_the_cpu_names_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "[V:onnxruntime:, session_state.cc:13 VerifyEachNodeIsAssignedToAnEp] "
    ran(monkeypatch, "", f"{place} Node(s) placed on [CUDAExecutionProvider]. Number: 1\n{place}  Conv (stem.conv1)\n")
    assert ort_placement.left_to_cpu(Path("x.onnx"), "CUDAExecutionProvider") == []
