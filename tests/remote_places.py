"""A bucket and a host on this computer, which count what is fetched from them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgebird.remote import storage
from tests.conftest import require
from tests.live_servers import free_port, require_server, wait_until

SSHD = "/usr/sbin/sshd"
PASSWORD = "s3cret"  # which no file and no line may have


class Bucket:
    """`s3://birds` by moto. fetched: bytes of objects that were sent since it was set to 0."""

    url = "s3://birds"

    def __init__(self, server: Any) -> None:
        self.fetched, self._app = 0, server.app
        server.app = self._count

    def _count(self, environ: Any, start: Any) -> Any:
        is_object = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].count("/") > 1
        for data in self._app(environ, start):
            self.fetched += len(data) if is_object else 0
            yield data


@contextmanager
def bucket(patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket."""
    require("s3fs")
    require("moto")
    import s3fs
    from moto.server import ThreadedMotoServer

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y"}
    for name, value in given.items():
        patch.setenv(f"AWS_{name}", value)
    patch.setattr(storage, "_storages", {})
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("birds")
    try:
        yield Bucket(server._server)
    finally:
        server.stop()


@contextmanager
def host(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """The URL of a folder on an OpenSSH server that knows the user by a key, and whose own key the user knows."""
    require("paramiko")
    require_server("sshd", Path(SSHD).exists(), "openssh-server")
    home, port = folder / "home", free_port()
    (home / ".ssh").mkdir(parents=True)
    for name in (home / ".ssh" / "id_ed25519", folder / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name], check=True)
    shutil.copy(home / ".ssh" / "id_ed25519.pub", folder / "authorized_keys")
    known = (folder / "host_key.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}")
    lines = [f"HostKey {folder}/host_key", f"AuthorizedKeysFile {folder}/authorized_keys", "StrictModes no"]
    lines += ["UsePAM no", "PasswordAuthentication no", "PermitRootLogin yes", "PidFile none"]
    lines += ["Subsystem sftp internal-sftp", f"Port {port}", "ListenAddress 127.0.0.1"]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    patch.setenv("HOME", str(home))
    patch.delenv("SSH_AUTH_SOCK", raising=False)
    patch.setattr(storage, "_storages", {})
    patch.setattr(storage, "_logins", {})
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        wait_until(lambda: b"listening" in (folder / "sshd.log").read_bytes(), "sshd", 30)
        yield f"sftp://{pwd.getpwuid(os.geteuid()).pw_name}:{PASSWORD}@127.0.0.1:{port}{folder}"
    finally:
        for opened in storage._storages.values():
            if opened._fs:
                opened._fs.client.close()
        process.terminate()
        process.wait(20)
