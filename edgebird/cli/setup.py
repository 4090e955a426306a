"""`edgebird setup`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from edgebird.cli import shell
from edgebird.cli.microphones import level_words
from edgebird.cli.options import own_option, takes
from edgebird.errors import AudioError, EdgebirdError, ParityError, UsageError

if TYPE_CHECKING:
    from edgebird.capture.devices import Device
    from edgebird.setup.answers import Answers
    from edgebird.setup.files import PlannedFile
    from edgebird.setup.home import Home

NAME = "setup"
_T = TypeVar("_T")
_LISTEN_S = 2.0
_FLAGS = "--mic or --url, --bundle, --place, --page, --alerts"

_OPTIONS = [
    own_option("mic", str | None, None, "--mic", metavar="NAME", help="A microphone; '' is the default one."),
    own_option("url", str | None, None, "--url", metavar="URL", help="A stream instead: RTSP or HTTP."),
    own_option("bundle", Path | None, None, "--bundle", metavar="BUNDLE", help="The bundle to listen with."),
    own_option("place", str | None, None, "--place", metavar="LAT,LON|none", help="Degrees north and east."),
    own_option(
        "page", str | None, None, "--page", metavar="none|loopback|network", help="Who may see the station's pages."
    ),
    own_option(
        "alerts", str | None, None, "--alerts", metavar="FILE|none",
        help="Its first line is an address as Apprise has them; - is standard input.",
    ),
    own_option(
        "service", str | None, None, "--service", metavar="system|user|none",
        help="Whose service it is; default: the system's for root, else this user's.",
    ),
    own_option("config", Path | None, None, "--config", metavar="FILE.toml", help="Where the settings are written."),
    own_option("replace", bool, False, "--replace", help="Replace settings that exist; a copy is kept."),
    own_option("yes", bool, False, "--yes", help="Write without asking once more."),
]  # fmt: skip


@takes(_OPTIONS)
def run(**options: Any) -> None:
    """Ask five questions, and make a station of the answers: its settings, and the service that starts it at boot.

    Microphone, bundle, place, page, alerts; what an option answers is not asked. What would be written is shown first.
    Passwords go to files that only the service reads, and are never shown.

    Example: sudo edgebird setup
    """
    from edgebird.setup.files import check, planned, write

    at = _where(options)
    answers, password = _ask(options, at)
    files = planned(answers, at, password)
    check(answers, files[0].text)
    if taken := [file.path for file in files if file.changes and file.old is not None and not _may(file, options)]:
        raise UsageError(f"{taken[0]} exists with other content: give --replace, and a copy of it is kept")
    _show(files, at)
    if not any(file.changes for file in files):
        shell.say("nothing to do: the station is set up like this")
        return
    if not options["yes"]:
        _require_terminal("nothing was written: give --yes to write this")
        if not typer.confirm("Write this?", err=True):
            raise EdgebirdError("nothing was written")
    copies = write(files, at)
    check(answers, at.settings.read_text(encoding="utf-8"))
    for copy in copies:
        shell.say(f"kept what was there as {copy}")
    for line in _next_steps(answers, at):
        shell.say(line)


def _where(options: dict[str, Any]) -> Home:
    """Where the station is to be. Raises EdgebirdError where it cannot be, or is already."""
    import os

    from edgebird.setup.home import home

    is_root = os.geteuid() == 0
    at = home(options["service"] or ("system" if is_root else "user"), options["config"])
    if at.service == "system" and not is_root:
        raise EdgebirdError("the system's service is written by root: sudo edgebird setup, or --service user")
    if at.settings.exists() and not options["replace"]:
        raise UsageError(f"{at.settings} exists: give --replace to write it anew, and a copy of it is kept")
    if not shell.stdin_is_terminal() and (
        (options["mic"] is None and options["url"] is None)
        or any(options[name] is None for name in ("bundle", "place", "page", "alerts"))
    ):
        raise UsageError(f"there is no terminal to ask on: give {_FLAGS}, and --yes")
    return at


def _may(file: PlannedFile, options: dict[str, Any]) -> bool:
    """Whether a file that exists may be changed."""
    return bool(options["replace"] or file.secret)


# ------------------------------------------------------------------------------------------------------------ questions
def _ask(options: dict[str, Any], at: Home) -> tuple[Answers, str | None]:
    """The answers, by options or by who sits there, and the password of the pages if it is a new one."""
    from edgebird.setup.answers import ALERT_SECRET, Answers, read_page, read_place

    source, secrets = _source(options)
    bundle = _answer(options["bundle"], "2. Bundle, a folder", _proven)
    at.check(bundle)
    place = _answer(options["place"], "3. Place, as LATITUDE,LONGITUDE or none", read_place, "none")
    page = _answer(options["page"], "4. Pages: none, loopback or network", _page(read_page), "loopback")
    password = _password(at) if page == "network" else None
    alerts = _answer(options["alerts"], "5. Alerts: an Apprise address, or none", _alerts(options), "none", hidden=True)
    if alerts:
        secrets = {**secrets, ALERT_SECRET: alerts}
    return Answers(source, bundle, place, page, secrets), password


def _answer(
    given: object, question: str, read: Callable[[str], _T], default: str | None = None, hidden: bool = False
) -> _T:
    """The answer of an option, or of a person, who is asked again where it is wrong."""
    if given is not None:
        return read(str(given))
    while True:
        said: str = typer.prompt(question, default=default, err=True, hide_input=hidden)
        try:
            return read(said)
        except EdgebirdError as error:
            shell.say_error(error)


def _source(options: dict[str, Any]) -> tuple[tuple[str, str], dict[str, str]]:
    """The key and address of the source, and what of it is secret."""
    if options["mic"] is not None and options["url"] is not None:
        raise UsageError("give --mic or --url, not both")
    if options["url"] is not None:
        return _stream(options["url"])
    from edgebird.live.microphones import list_microphones

    if options["mic"] is not None:
        return _microphone(options["mic"], list_microphones()), {}
    try:
        devices = list_microphones()
    except AudioError as error:
        shell.say_error(error)
        devices = []
    for number, device in enumerate(devices, 1):
        shell.say(f"  {number}  {device.name}: {_level(device)}")
    if not devices:
        shell.say("  there is no microphone here")

    def read(said: str) -> tuple[tuple[str, str], dict[str, str]]:
        if "://" in said:
            return _stream(said)
        number = int(said) if said.isascii() and said.isdecimal() else 0
        if not devices or number > len(devices):
            raise UsageError("no such microphone: wanted a number or name of the list, or the address of a stream")
        return ("mic", _name(devices[number - 1], devices) if number else _found(said, devices)), {}

    question = "1. Microphone, by number or name, or the address of a stream"
    return _answer(None, question, read, "1" if devices else None)


def _microphone(wanted: str, devices: list[Device]) -> tuple[str, str]:
    """One that an option names; how loud it is is told."""
    from edgebird.capture.devices import choose

    name = _found(wanted, devices) if wanted else ""
    device = choose(devices, wanted or None)
    shell.say(f"{device.name}: {_level(device)}")
    return "mic", name


def _found(wanted: str, devices: list[Device]) -> str:
    from edgebird.capture.devices import choose

    return _name(choose(devices, wanted), devices)


def _name(device: Device, devices: list[Device]) -> str:
    """A name that fits this device alone, if possible without the numbers, which a reboot may change."""
    from edgebird.capture.devices import choose, without_numbers

    short = without_numbers(device.name)
    try:
        return short if choose(devices, short) == device else device.name
    except AudioError:
        return device.name


def _level(device: Device) -> str:
    from edgebird.live.microphones import measure

    return level_words(measure(device.name if device.index is None else str(device.index), _LISTEN_S))


def _stream(address: str) -> tuple[tuple[str, str], dict[str, str]]:
    """A stream, which is listened to; one that is off now may be on later."""
    from edgebird.live.microphones import measure_stream
    from edgebird.settings.sources import make_source
    from edgebird.setup.answers import split_secret

    shown, secrets = split_secret(address)
    whole = make_source("url", address).address
    shell.say("listening to the stream")
    shell.say(f"the stream: {level_words(measure_stream(whole, _LISTEN_S))}")
    return ("url", shown), secrets


def _proven(said: str) -> Path:
    """A bundle that this computer scores as it should. Raises EdgebirdError."""
    from edgebird.live.assembly import open_listening_bundle
    from edgebird.verification import verify

    bundle = open_listening_bundle(Path(said).absolute())
    if bundle.card.golden is None:
        shell.say(f"{bundle.path}: comes without a proof")
        return bundle.path
    shell.say(f"{bundle.path}: is being proven on this computer, which may take some minutes on a small one")
    for result in verify(bundle, precision="fp32"):
        if not result.passed:
            raise ParityError(f"{bundle.path}: {result.runtime} does not score as the original did: edgebird verify")
        allowed = f"allowed {result.tolerance.max:g}"
        shell.say(f"{result.runtime}: largest score difference {result.parity.max_abs:.1e} ({allowed})")
    return bundle.path


def _page(read: Callable[[str], str]) -> Callable[[str], str]:
    """Read the answer, and see that pages can be shown."""

    def checked(said: str) -> str:
        import importlib.util

        page = read(said)
        if page != "none" and importlib.util.find_spec("starlette") is None:
            raise EdgebirdError("pages need starlette: pip install 'edgebird[web]'")
        return page

    return checked


def _password(at: Home) -> str | None:
    """A password for the pages: None where there is one already; by a person, or one that nobody guesses."""
    from edgebird.setup.files import new_password
    from edgebird.web.options import read_password

    if at.password.exists():
        read_password(at.password)
        return None
    if not shell.stdin_is_terminal():
        return new_password()
    while True:
        said: str = typer.prompt(
            "   A password of 8 characters or more; empty: one that nobody guesses",
            default="", show_default=False, hide_input=True, err=True,
        )  # fmt: skip
        if not said or (len(said) >= 8 and said.isprintable()):
            return said or new_password()
        shell.say_error("too short, or with characters that cannot be printed")


def _alerts(options: dict[str, Any]) -> Callable[[str], str | None]:
    """Read an address, or the file that an option names; None of `none`."""
    import sys

    from edgebird.setup.answers import NONE, read_secret

    def read(said: str) -> str | None:
        if said.strip() == NONE:
            return None
        if options["alerts"] is None:
            return read_secret(said, "the address")
        if said == "-":
            return read_secret(sys.stdin.readline(), "standard input")
        return read_secret(Path(said).read_text(encoding="utf-8", errors="replace"), said)

    return read


def _require_terminal(otherwise: str) -> None:
    if not shell.stdin_is_terminal():
        raise UsageError(otherwise)


# ---------------------------------------------------------------------------------------------------------------- words
def _show(files: list[PlannedFile], at: Home) -> None:
    for file in files:
        for line in file.difference():
            shell.result(line)
    if at.makes_data and not at.data.is_dir():
        shell.result(f"{at.data}: made, a folder")
    if at.packaged:
        shell.result("edgebird.service: the one of the system's package is used")


def _next_steps(answers: Answers, at: Home) -> list[str]:
    """What is left to do by hand: nothing is started without being asked to."""
    names = "edgebird edgebird-serve" if answers.page != "none" else "edgebird"
    if at.units is None:
        return [f"listen: edgebird listen --config {at.settings}"]
    manager = "sudo systemctl" if at.service == "system" else "systemctl --user"
    steps = [f"start it now and at boot: {manager} daemon-reload && {manager} enable --now {names}"]
    if at.service == "user":
        steps.append("without a login: sudo loginctl enable-linger")
    if answers.page == "network":
        steps.append(f"the pages' password is the first line of {at.password}")
    return steps
