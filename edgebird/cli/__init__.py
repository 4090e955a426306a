"""The command line: one file a command, imports inside the commands, so that `edgebird --help` is instant."""

from edgebird.cli.app import main

__all__ = ["main"]
