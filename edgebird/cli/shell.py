"""How every command behaves: exit codes, one-line errors, logs on stderr, terminals and their absence."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

import typer

from edgebird.errors import EdgebirdError, UsageError

_P = ParamSpec("_P")

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def command(function: Callable[_P, None]) -> Callable[_P, None]:
    """Give a command the exit codes of the contract: 1 foreseen error, 2 wrong usage, 130 interrupted."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except EdgebirdError as error:
            say_error(error)
            raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from error
        except OSError as error:
            say_error(f"{error.filename}: {error.strerror}" if error.filename else error)
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from error

    return run


def result(line: str) -> None:
    """Print a line of results on stdout."""
    from edgebird.sinks.lines import write_result

    write_result(sys.stdout, line + "\n")


def say_error(error: BaseException | str) -> None:
    """Print `error: ...` on stderr, one line whatever the file names in it."""
    _print(f"error: {error}")


def say(line: str) -> None:
    """Print a line of progress on stderr; -q silences it."""
    if not quiet():
        _print(line)


def _print(text: str) -> None:
    """Print one line on stderr, in one piece, as other threads print there too; work goes on when nobody reads it."""
    if sys.stderr is None:
        return
    encoding = sys.stderr.encoding or "utf-8"
    line = " ".join(text.split("\n")).encode(encoding, "backslashreplace").decode(encoding)
    with suppress(OSError, ValueError):  # it is closed
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def quiet() -> bool:
    """Whether -q was given."""
    return logging.getLogger("edgebird").level >= logging.ERROR


def verbose() -> bool:
    """Whether -v was given."""
    return logging.getLogger("edgebird").level <= logging.DEBUG


def set_verbosity(arguments: list[str]) -> list[str]:
    """Take -v and -q out of the arguments, wherever they are, and set the log level; return the others."""
    levels = {"-v": logging.DEBUG, "--verbose": logging.DEBUG, "-q": logging.ERROR, "--quiet": logging.ERROR}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    level = logging.INFO
    for argument in arguments[:end]:
        level = levels.get(argument, level)
    logger = logging.getLogger("edgebird")
    logger.setLevel(level)
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger.handlers = [handler]
    return [argument for i, argument in enumerate(arguments) if i >= end or argument not in levels]


class _StderrHandler(logging.Handler):
    """Logs to what stderr is at the time: above a progress bar while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        _print(self.format(record))


def stdout_is_terminal() -> bool:
    """Whether a person reads the results as they come."""
    return sys.stdout is not None and sys.stdout.isatty()


def screen_fits() -> bool:
    """Whether results may be drawn in place."""
    return stdout_is_terminal() and os.environ.get("TERM") != "dumb"


def stderr_is_terminal() -> bool:
    """Whether progress bars make sense."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
