"""Memory of this process, as a report tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.benchmarks import memory


def test_memory_is_told_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux says kB and means KiB."""
    (tmp_path / "status").write_text("VmHWM:\t  200000 kB\nVmRSS:\t  100000 kB\n")
    monkeypatch.setattr(memory, "_SELF", tmp_path)
    assert (memory.resident_mb(), memory.peak_mb()) == (102.4, 204.8)
