"""Resident memory of this process, as Linux counts it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")


def resident_mb() -> float | None:
    """Now; None where that cannot be read."""
    return _status("VmRSS")


def peak_mb() -> float | None:
    """The most since `forget_peak`, or since the process began where that is refused; None where it cannot be read."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak start anew."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5", encoding="ascii")


def _status(key: str) -> float | None:
    try:
        lines = (_SELF / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{key}:")), None)
