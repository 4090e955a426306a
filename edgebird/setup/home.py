"""Where the files of a station are: those of a service of the system, or of one user."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgebird.errors import EdgebirdError, UsageError
from edgebird.setup.answers import PORT

USER = "edgebird"
SERVICES = ("system", "user", "none")
# As the templates have them.
_PROGRAM, _SETTINGS, _DATA = "/opt/edgebird/bin/edgebird", "/etc/edgebird", "/var/lib/edgebird"
_PLAIN = re.compile(r"[A-Za-z0-9_./+@:,-]+")  # nothing that systemd would take apart
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # from the system's service


@dataclass(frozen=True, slots=True)
class Home:
    """Where a station is.

    service: one of SERVICES. settings: station.toml. data: what the station writes to. units: the folder for the
    service, None for none. packaged: the service comes with a package of the system, and is not written.
    """

    service: str
    settings: Path
    data: Path
    units: Path | None
    packaged: bool = False

    @property
    def makes_data(self) -> bool:
        """Whether the folder has to be made: systemd makes that of the system's service."""
        return self.service != "system"

    @property
    def environment(self) -> Path:
        """The file of passwords."""
        return self.settings.with_name("environment")

    @property
    def password(self) -> Path:
        """The file of the pages' password."""
        return self.settings.with_name("password")

    @property
    def group(self) -> int | None:
        """Of the service's user, None for that of who writes. Raises EdgebirdError where there is no such user."""
        if self.service != "system":
            return None
        try:
            return grp.getgrnam(USER).gr_gid
        except KeyError:
            raise EdgebirdError(
                f"there is no user {USER} that the service could run as: sudo useradd --system --user-group "
                f"--home-dir {_DATA} --shell /usr/sbin/nologin --groups audio {USER}"
            ) from None

    def unit(self, serve: str = "") -> str:
        """Return the text of the service, or with the options of `edgebird serve` that of the pages."""
        name = f"{'user' if self.service == 'user' else 'edgebird'}{'-serve' if serve else ''}.service"
        text = resources.files("edgebird.setup").joinpath(name).read_text(encoding="utf-8")
        places = {_PROGRAM: program(), f"{_SETTINGS}/station.toml": str(self.settings)}
        places |= {f"{_SETTINGS}/environment": str(self.environment), _DATA: str(self.data)}
        # What the text is about stays as it is: only lines that systemd reads are another's.
        lines = [line if line.startswith("#") else _replaced(line, places) for line in text.splitlines()]
        return "".join(f"{line}{serve if line.startswith('ExecStart=') else ''}\n" for line in lines)

    def check(self, bundle: Path) -> None:
        """Raise UsageError for paths that the service could not use, EdgebirdError where its user is missing."""
        if self.units is None:
            return
        paths = (program(), str(self.settings), str(self.data))
        if wrong := [path for path in paths if not _PLAIN.fullmatch(path)]:
            raise UsageError(f"{wrong[0]}: systemd would take this path apart: choose one of plain characters")
        if self.service == "system":
            _ = self.group
            for path in (program(), os.path.realpath(bundle)):
                if path.startswith(_HIDDEN):
                    raise UsageError(
                        f"{path}: the system's service sees no homes and no /tmp: move it, for example to "
                        "/opt/edgebird, or give --service user"
                    )


def home(service: str, settings: Path | None = None, root: Path = Path("/")) -> Home:
    """Return where a station is. settings: another station.toml. root: of the system, for tests. Raises UsageError."""
    if service not in SERVICES:
        raise UsageError(f"--service {service}: wanted {', '.join(SERVICES[:-1])} or {SERVICES[-1]}")
    if service == "system" or (service == "none" and os.geteuid() == 0):
        at = settings or root / "etc/edgebird/station.toml"
        shipped = (root / folder / "systemd/system/edgebird.service" for folder in ("usr/lib", "lib"))
        packaged = any(unit.exists() for unit in shipped) and at == root / "etc/edgebird/station.toml"
        units = root / "etc/systemd/system" if service == "system" else None
        return Home(service, _whole(at), root / "var/lib/edgebird", units, packaged)
    own = Path(pwd.getpwuid(os.geteuid()).pw_dir if "HOME" not in os.environ else os.environ["HOME"])
    config = Path(os.environ.get("XDG_CONFIG_HOME") or own / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or own / ".local/share") / "edgebird"
    units = config / "systemd/user" if service == "user" else None
    return Home(service, _whole(settings or config / "edgebird/station.toml"), data, units)


def serve_options(page: str, at: Home) -> str:
    """Return the options of `edgebird serve` for a page that is not none."""
    if page == "network":
        return f" --listen 0.0.0.0:{PORT} --password-file {at.password}"
    return f" --listen 127.0.0.1:{PORT}"


def program() -> str:
    """Return the program that a service runs: that of this Python's environment."""
    beside = Path(sys.executable).with_name("edgebird")
    return str(beside) if beside.exists() else shutil.which("edgebird") or str(beside)


def _replaced(line: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        line = line.replace(old, new)
    return line


def _whole(path: Path) -> Path:
    return Path(os.path.abspath(path))
