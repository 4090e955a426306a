"""The files that a station is made of: shown as a difference, checked as the station reads them, and written."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgebird.errors import EdgebirdError, OutputError
from edgebird.files import atomic_path, make_folder
from edgebird.live.assembly import check_settings, open_listening_bundle
from edgebird.settings.build import station_settings
from edgebird.settings.model import StationSettings
from edgebird.setup.answers import Answers, environment_text, station_text
from edgebird.setup.home import Home, serve_options
from edgebird.sinks.remote.build import remote_sinks

# What a line that goes may hold: an address with a password, a password, a token.
_SECRET = re.compile(r"""((?:^-#?\s*(?:password|token|to)\s*=)|://).*""")

UNIT, SERVE_UNIT = "edgebird.service", "edgebird-serve.service"


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to write. secret: what nobody may see of it. group: who may read it beside its owner."""

    path: Path
    text: str = field(repr=False)
    mode: int = 0o644
    secret: str = ""
    group: int | None = None

    @property
    def old(self) -> str | None:
        """What it holds now; None where there is none. Raises OutputError."""
        try:
            return self.path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutputError(f"cannot read {self.path}: {error.strerror}") from error

    @property
    def changes(self) -> bool:
        """Whether it is not there as it shall be."""
        return self.old != self.text or not self._is_protected

    @property
    def _is_protected(self) -> bool:
        """Whether a file that is there and secret has its mode and group."""
        if not self.secret:
            return True
        status = self.path.stat()
        return status.st_mode & 0o777 == self.mode and self.group in (None, status.st_gid)

    def difference(self) -> Iterator[str]:
        """Yield what writing it changes, line by line; of a secret file only that it does."""
        old = self.old
        if not self.changes:
            yield f"{self.path}: stays as it is"
        elif self.secret:
            yield f"{self.path}: {'made' if old is None else 'changed'}, mode {self.mode:04o}: {self.secret}"
        else:
            names = "/dev/null" if old is None else str(self.path), str(self.path)
            lines = difflib.unified_diff((old or "").splitlines(), self.text.splitlines(), *names, lineterm="")
            for line in lines:
                shown = _SECRET.sub(r"\1***", line) if line.startswith("-") else line
                yield shown.encode("utf-8", "backslashreplace").decode()


def planned(answers: Answers, at: Home, password: str | None) -> list[PlannedFile]:
    """Return the files of a station, the settings first. password: of the pages, None to leave it as it is."""
    files = [PlannedFile(at.settings, station_text(answers, at.data))]
    if answers.secrets:
        said = ", ".join(answers.secrets)
        file = PlannedFile(at.environment, "", 0o600, said)
        files.append(PlannedFile(at.environment, environment_text(file.old or "", answers.secrets), 0o600, said))
    if password is not None:
        mode = 0o600 if at.group is None else 0o640
        files.append(PlannedFile(at.password, f"{password}\n", mode, "the password of the pages", at.group))
    if at.units and not at.packaged:
        files.append(PlannedFile(at.units / UNIT, at.unit()))
    if at.units and answers.page != "none":
        files.append(PlannedFile(at.units / SERVE_UNIT, at.unit(serve_options(answers.page, at))))
    return files


def new_password() -> str:
    """Return a password that nobody guesses."""
    return secrets.token_urlsafe(12)


def check(answers: Answers, text: str) -> StationSettings:
    """Return settings as the station would read them, and refuse what it would refuse. Raises EdgebirdError.

    text: of station.toml. Nothing is opened, and what is read is in a folder that goes.
    """
    with tempfile.TemporaryDirectory(prefix="edgebird-setup-") as folder, _environment(answers.secrets):
        path = Path(folder) / "station.toml"
        path.write_text(text, encoding="utf-8")
        settings = station_settings(path, {})
        check_settings(settings)
        remote_sinks(settings, open_listening_bundle(answers.bundle), "")
    kind, address = answers.source
    (source,) = settings.sources
    same = (source.kind, settings.detection.bundle, settings.detection.coordinates)
    if same != (kind, answers.bundle, answers.place) or (kind == "mic" and source.address != address):
        raise EdgebirdError("a fault in edgebird: its settings are not read as they were written; nothing was changed")
    return settings


def write(files: Sequence[PlannedFile], at: Home) -> list[Path]:
    """Write what changes, each file whole or not at all; return the copies of what was there. Raises OutputError.

    Settings and services are copied first to a name with `.old`; secrets are not.
    """
    copies = []
    if at.makes_data:
        make_folder(at.data)
    for file in files:
        if not file.changes:
            continue
        if file.old is not None and not file.secret:
            copies.append(_keep(file.path, file.old))
        is_new = not file.path.parent.is_dir()
        make_folder(file.path.parent, file.path)
        if is_new and at.service == "system":
            file.path.parent.chmod(0o755)  # whatever root's umask is, the service's user reads there
        with atomic_path(file.path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # a secret at no time open
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(file.text)
            _protect(temporary, file)
    return copies


def _protect(path: Path, file: PlannedFile) -> None:
    if file.group is not None and os.geteuid() == 0:
        os.chown(path, 0, file.group)
    path.chmod(file.mode)


def _keep(path: Path, text: str) -> Path:
    """Copy a file to the first name that is free."""
    number, copy = 1, path.with_name(f"{path.name}.old")
    while copy.exists():
        number += 1
        copy = path.with_name(f"{path.name}.old-{number}")
    with atomic_path(copy) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    return copy


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have variables for a while, as the service will have them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
