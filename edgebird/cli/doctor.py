"""`edgebird doctor`."""

from __future__ import annotations

from edgebird.cli import shell

NAME = "doctor"


def run() -> None:
    """Tell what is installed, which engines can really run here, and why the others cannot.

    Example: edgebird doctor
    """
    from edgebird.doctor import examine

    for line in examine():
        shell.result(line)
