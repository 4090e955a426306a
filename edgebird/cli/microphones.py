"""`edgebird microphones`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgebird.cli import shell

if TYPE_CHECKING:
    from edgebird.capture.devices import Device
    from edgebird.live.microphones import Loudness

NAME = "microphones"


def run(
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, help="Listen to each so long.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the microphones and how loud each is now, one after the other.

    `listen --device` takes their number, or better their name, or a part of it. Exit code 1 if there is none.

    Example: edgebird microphones --seconds 5
    """
    import json

    from edgebird.errors import AudioError
    from edgebird.live.microphones import list_microphones, measure

    devices = list_microphones()
    if not devices:
        raise AudioError(
            "there is no microphone: plug one in, and see that `arecord -l` or `pactl list sources` has it"
        )
    levels = []
    for device in devices:
        shell.say(f"listening to {device.name} for {seconds:g} s")
        levels.append(measure(device.name if device.index is None else str(device.index), seconds))
    if as_json:
        shell.result(json.dumps([_to_json(device, level) for device, level in zip(devices, levels, strict=True)]))
    else:
        _print([_cells(device, level) for device, level in zip(devices, levels, strict=True)])


def _cells(device: Device, level: Loudness) -> list[str]:
    return [
        "-" if device.index is None else str(device.index),
        device.name + (" (default)" if device.default else ""),
        str(device.channels),
        f"{device.rate} Hz",
        level_words(level),
    ]


def level_words(level: Loudness) -> str:
    """Return how loud a microphone is, or what is wrong with it, in words."""
    if level.peak_dbfs is None or level.rms_dbfs is None:
        return level.problem or ""
    if level.is_silence:
        return "digital silence (muted?)"
    return f"{level.rms_dbfs:.1f} dBFS, peak {level.peak_dbfs:.1f}"


def _to_json(device: Device, level: Loudness) -> dict[str, object]:
    heard = level.peak_dbfs is not None and not level.is_silence  # JSON has no infinity
    return {
        "index": device.index,
        "name": device.name,
        "description": device.description,
        "channels": device.channels,
        "rate": device.rate,
        "default": device.default,
        "rms_dbfs": level.rms_dbfs if heard else None,
        "peak_dbfs": level.peak_dbfs if heard else None,
        "digital_silence": level.is_silence,
        "problem": level.problem,
    }


def _print(rows: list[list[str]]) -> None:
    heading = ["", "name", "channels", "rate", "level"]
    if shell.stdout_is_terminal():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*heading, box=None, header_style="bold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in [heading, *rows]:
        shell.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
