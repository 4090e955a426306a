"""The answers to five questions, and the settings that they become."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from edgebird.capture.addresses import redact
from edgebird.errors import UsageError
from edgebird.settings.checks import number

PAGES = ("none", "loopback", "network")
NONE = "none"
PORT = 8080
STREAM_SECRET, ALERT_SECRET = "EDGEBIRD_STREAM_URL", "EDGEBIRD_ALERT_URL"
_LONGEST = 4096  # characters of an address

_HEAD = """\
# A listening station: edgebird listen --config station.toml
#
# `edgebird setup` wrote this. All settings, with what they mean: docs/station.md and docs/station/station.toml.
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person said.

    source: the key of a [[source]], mic or url, and its address, or a variable in its place. bundle: absolute.
    place: degrees north and east, or None. page: one of PAGES. secrets: variables that the settings name.
    """

    source: tuple[str, str]
    bundle: Path
    place: tuple[float, float] | None
    page: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_place(text: str) -> tuple[float, float] | None:
    """Return degrees north and east of `52.52,13.41`, None of `none`. Raises UsageError."""
    if text.strip() == NONE:
        return None
    latitude, _, longitude = text.partition(",")
    try:
        return number(-90, 90).read(float(latitude)), number(-180, 180).read(float(longitude))
    except ValueError:
        raise UsageError(
            f"no such place {text!r}: wanted LATITUDE,LONGITUDE in degrees such as 52.52,13.41, or none"
        ) from None


def read_page(text: str) -> str:
    """Return one of PAGES. Raises UsageError."""
    if text.strip() not in PAGES:
        raise UsageError(f"no such page {text!r}: wanted {', '.join(PAGES[:-1])} or {PAGES[-1]}")
    return text.strip()


def split_secret(address: str) -> tuple[str, dict[str, str]]:
    """Return a stream's address, and the variable that takes its place where it holds a password or a token.

    No message shows an address. One with a variable stays: who wrote it sets that. Raises UsageError.
    """
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    if not host or "://" not in address:
        raise UsageError("no address of a stream: wanted SCHEME://HOST/..., such as rtsp://192.168.1.20/live")
    if "${" in address or redact(address) == address:
        return _secret(address), {}
    return f"${{{STREAM_SECRET}}}", {STREAM_SECRET: _secret(address)}


def read_secret(text: str, what: str) -> str:
    """Return the first line of a text, such as a file's. Raises UsageError, which does not show it."""
    first = (text.splitlines() or [""])[0].strip()
    if not first or len(first) > _LONGEST:
        raise UsageError(f"{what}: its first line is empty, or longer than {_LONGEST} characters")
    return _secret(first)


def _secret(text: str) -> str:
    if any(ord(character) < 0x20 or character == "\x7f" for character in text):
        raise UsageError("a password or address with a control character: write it as %XX")
    return text


def station_text(answers: Answers, data: Path) -> str:
    """Return the content of station.toml. data: the folder that the station writes to."""
    kind, address = answers.source
    name = "garden" if kind == "mic" else "stream"
    lines = [_HEAD, f"bundle = {_literal(answers.bundle)}", "min-windows = 2"]
    if answers.place:
        lines += [f"latitude = {answers.place[0]:.10g}", f"longitude = {answers.place[1]:.10g}"]
    lines += ["", "[output]", f"log = {_literal(data / 'log')}", f"database = {_literal(data / 'birds.db')}"]
    lines += ["", "[clips]", f"folder = {_literal(data / 'clips')}", "max-age = 90", 'max-size = "20GB"']
    lines += ['min-free = "2GB"', "keep-best = 5"]
    if ALERT_SECRET in answers.secrets:
        to = f'to = ["${{{ALERT_SECRET}}}"]'
        lines += ["", "[[alert]]", 'name = "birds"', to, 'when = ["first-ever", "first-this-year", "back"]']
        lines += ["", "[[alert]]", 'name = "trouble"', to, 'when = ["deaf", "silent", "disk-low"]', "minutes = 15"]
    return "\n".join([*lines, "", "[[source]]", f'name = "{name}"', f"{kind} = {_literal(address)}", ""])


def environment_text(old: str, secrets: Mapping[str, str]) -> str:
    """Return a file of variables as systemd reads it, with these among those it had."""
    kept = [line for line in old.splitlines() if line.partition("=")[0].strip() not in secrets]
    return "".join(f"{line}\n" for line in [*kept, *(f"{name}={_quoted(text)}" for name, text in secrets.items())])


def _quoted(text: str) -> str:
    """A value in double quotes, in which systemd takes these characters with a backslash alone."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", text) + '"'


def _literal(value: str | Path) -> str:
    """A text as TOML has it: a string of JSON, but for one character. Raises UsageError for what is no text."""
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not UTF-8: station.toml cannot hold it") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
