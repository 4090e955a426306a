"""Small files of the kernel, each with one value."""

from __future__ import annotations

from pathlib import Path


class NoSensorError(Exception):
    """A sensor that is not there or cannot be read; its text says why, and what would help."""


def text(path: Path) -> str | None:
    """The text in a file, None if it is not there or cannot be read now (some fail while a device sleeps)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """The whole number in a file, None if there is none."""
    found = text(path)
    try:
        return int(found) if found else None
    except ValueError:
        return None
