"""What no family fits, described by its user: a TOML file with the same words as a card."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgebird.card import ACTIVATIONS, Scaling
from edgebird.errors import ExportError
from edgebird.export.adopt.families import ModelFamily

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def described(path: Path, family: ModelFamily | None) -> ModelFamily:
    """The family with what a file says of the model; None: nothing but that. Raises ExportError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExportError(f"{path}: not a TOML file: {error}") from error
    if unknown := [key for key in content if key not in _READERS]:
        raise ExportError(f"{path}: {unknown[0]!r} is nothing that a card says: {', '.join(_READERS)}")
    try:
        read = {key: _READERS[key](value) for key, value in content.items()}
    except (TypeError, ValueError) as error:
        raise ExportError(f"{path}: {error}") from error
    return replace(family or ModelFamily(""), **read)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{value!r} is no positive whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{value!r} is no number above 0")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _activation(value: Any) -> str:
    if value not in ACTIVATIONS:
        raise ValueError(f"activation {value!r}: wanted {', '.join(ACTIVATIONS)}")
    return str(value)


def _scaling(value: Any) -> Scaling:
    given = _table(value)
    if unknown := given.keys() - {"remove_mean", "peak", "rms"}:
        raise ValueError(f"scaling has no {min(unknown)!r}: wanted remove_mean, peak, rms")
    levels = {key: _number(given[key]) for key in ("peak", "rms") if key in given}
    return Scaling(bool(given.get("remove_mean", False)), levels.get("peak"), levels.get("rms"))


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no table")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "sample_rate": _whole,
    "window_samples": _whole,
    "scores": lambda value: (_text(value),),
    "further": lambda value: {what: (_text(name),) for what, name in _table(value).items()},
    "activation": _activation,
    "sensitivity": _number,
    "scaling": _scaling,
    "not_birds": lambda value: {name: _text(what) for name, what in _table(value).items()},
    "licence": _text,
    "source": _text,
}
