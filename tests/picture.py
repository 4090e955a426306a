"""The picture of the live screen in README: a real run in a terminal, as an SVG of one moment.

    pip install pyte
    python -m tests.picture docs/live.svg 16 edgebird -q listen --file edgebird/demo/data/three_birds.flac --realtime \\
        --bundle edgebird/demo/data/bundle

The command runs in a terminal of its own; pyte understands what it draws, rich writes the picture.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

COLUMNS, LINES = 104, 30


def screen_after(command: list[str], seconds: float) -> object:
    """The terminal's content so many seconds after a command was started in it: a pyte.Screen."""
    import pyte

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    screen = pyte.Screen(COLUMNS, LINES)
    stream, end = pyte.ByteStream(screen), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([leader], [], [], left)[0]:
            stream.feed(os.read(leader, 1 << 16))
    process.kill()  # it would wait for a terminal that nobody reads
    process.wait()
    return screen


def svg_of(screen: object, title: str) -> str:
    """A pyte.Screen as an SVG."""
    from rich.console import Console
    from rich.style import Style
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    lines = [screen.buffer[number] for number in range(LINES)]  # type: ignore[attr-defined]
    while lines and not any(line_cell.data.strip() for line_cell in lines[-1].values()):
        lines.pop()
    for line in lines:
        text = Text()
        for column in range(COLUMNS):
            cell = line[column]
            style = Style(color=_colour(cell.fg), bgcolor=_colour(cell.bg), bold=cell.bold, reverse=cell.reverse)
            text.append(cell.data or " ", style)
        console.print(text, end="\n", soft_wrap=True)
    return console.export_svg(title=title)


def _colour(name: str) -> str | None:
    """As rich calls it."""
    if name == "default":
        return None
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name.lower()):
        return f"#{name}"
    return {"brown": "yellow"}.get(name, name.replace("bright", "bright_"))


if __name__ == "__main__":
    out, seconds, *command = sys.argv[1:]
    Path(out).write_text(svg_of(screen_after(command, float(seconds)), "edgebird listen"))
