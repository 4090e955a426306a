"""How every command behaves: exit codes, one-line errors, logs on stderr, terminals and their absence."""

from __future__ import annotations

import functools
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, ParamSpec

import typer

from edgebird.errors import EdgebirdError, UsageError

_P = ParamSpec("_P")

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_LINES = 1000  # on stderr that may wait
_LAST_S = 1.0  # for those that wait at the end


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


class _Writer:
    """Writes lines on stderr on a thread of its own: who prints never waits. What finds no room is lost, counted."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def put(self, text: str) -> None:
        """Have a line written."""
        if self._lines.qsize() < _LINES:
            self._lines.put(text)
        else:
            self._lost += 1

    def end(self) -> bool:
        """Write what waits, for a second at most; whether all is written."""
        self._lines.put(None)
        self._thread.join(_LAST_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        told = 0
        while (text := self._lines.get()) is not None:
            _write(text)
            if (lost := self._lost) > told:
                _write(f"WARNING: {lost - told} lines are missing here: nobody read them in time")
                told = lost


_writer: _Writer | None = None


@contextmanager
def unhindered() -> Iterator[None]:
    """Let work go on while nobody reads stderr, such as a pipe that is full.

    If nobody reads it at the end either, the program ends here: Python would wait for the reader for ever.
    """
    global _writer
    _writer = writer = _Writer()
    code = 0
    try:
        yield
    except typer.Exit as error:
        code = error.exit_code
        raise
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else FAILED
        raise
    except BaseException as error:
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
        raise
    finally:
        if not writer.end():
            _exit(code)
        _writer = None


def leave(code: int, well: bool = True) -> NoReturn:
    """End the program at once, with threads that hang; what waits for stderr is written before, for a second.

    well: whether engines have no part in it.
    """
    if _writer is not None:
        _writer.end()
    _exit(code, well)


def _exit(code: int, well: bool = True) -> NoReturn:
    """End without what Python does at the end, but for the word that the engines have done no harm."""
    if well and (apart := sys.modules.get("edgebird.runtimes.apart")):
        apart.ended_well()
    os._exit(code)


def _print(text: str) -> None:
    """Print one line on stderr, at once or, while it is `unhindered`, soon."""
    if _writer is None:
        _write(text)
    else:
        _writer.put(text)


def _write(text: str) -> None:
    """Write one line on stderr, in one piece, as other threads print there too; work goes on when it is closed."""
    if sys.stderr is None:
        return
    encoding = sys.stderr.encoding or "utf-8"
    line = " ".join(text.split("\n")).encode(encoding, "backslashreplace").decode(encoding)
    with suppress(OSError, ValueError):  # it is closed
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def settle() -> None:
    """Let the program end with its own exit code.

    What could not be written was told already; Python tries again at its end and would make the exit code 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


def stdin_is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def stdout_is_terminal() -> bool:
    """Whether a person reads the results as they come."""
    return sys.stdout is not None and sys.stdout.isatty()


def screen_fits() -> bool:
    """Whether results may be drawn in place."""
    return stdout_is_terminal() and os.environ.get("TERM") != "dumb"


def stderr_is_terminal() -> bool:
    """Whether progress bars make sense."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
