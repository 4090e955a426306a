"""Embeddings as a database of perch-hoplite, written by its own library: for its searches, labels and classifiers."""

from __future__ import annotations

import shutil
import sqlite3
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.errors import NotInstalledError, OutputError, WrongOutputError
from edgebird.events import Event, encodable, seconds
from edgebird.files import remove_orphans, temporary_beside
from edgebird.science.embedding import made_with, width_of
from edgebird.sinks import Memory, Recorded, Sink
from edgebird.types import FloatArray, Window

_REFUSALS = (OSError, sqlite3.Error, ValueError, RuntimeError)  # of a full disk, and of its library
_ROWS = 512  # that are written at once
_MISSING = "a database of perch-hoplite needs its package: pip install 'edgebird[hoplite]'"


class HopliteSink(Sink):
    """Makes a folder with a database, whole or not at all.

    The folder that was given to `embed` is a project, a folder in it a deployment, as tools of perch-hoplite have it.
    Windows have their seconds, a column `channel` if channels were asked for, and a vector of float16. Metadata
    `edgebird` says what made them, `audio_sources` where the recordings are. path: a new folder, for one that is there
    may hold labels of people.
    """

    name = "embeddings"

    def __init__(self, path: Path, bundle: Bundle, precision: str, hop_s: float) -> None:
        require_hoplite()
        self._path, self._rate, self._width = path, bundle.card.sample_rate, width_of(bundle.card)
        self._made = made_with(bundle, precision, hop_s) | {"perch_hoplite": version("perch-hoplite")}
        self._temporary: Path | None = None
        self._database: Any = None
        self._projects: dict[str, str] = {}  # by their folders
        self._deployments: dict[tuple[str, str], int] = {}
        self._recording: int | None = None  # its number
        self._windows: list[dict[str, Any]] = []
        self._vectors: list[FloatArray] = []
        self._any = self._has_channels = False

    def open(self) -> None:
        """See `Sink`. The engine is open by now: ONNX Runtime 1.32 crashes if it is imported behind usearch 2.26."""
        config_dict, library = _imported()
        if self._path.exists() or self._path.is_symlink():
            raise WrongOutputError(f"cannot write {self._path}: it exists, perhaps with labels: use another folder")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(self._path.parent.absolute())
        self._temporary = temporary_beside(self._path)
        settings = library.get_default_usearch_config(self._width)
        self._database = library.SQLiteUSearchDB.create(str(self._temporary), usearch_cfg=settings)
        self._metadata = config_dict.ConfigDict

    def begin(self, recording: Recorded) -> None:
        """See `Sink`; a recording without a window has no row."""
        self._recording = None

    def score(self, recording: Recorded, window: Window, scores: FloatArray) -> None:
        """See `Sink`. Raises OutputError for an embedding that float16 cannot hold."""
        with np.errstate(over="ignore"):
            fits = np.isfinite(scores.astype(np.float16)).all()
        if not fits:
            raise OutputError(f"{recording.origin.name}: an embedding has numbers that are too large for float16")
        if self._recording is None:
            self._recording = self._insert(recording)
        start, end = (seconds(at, self._rate) for at in (window.start, window.end))
        row: dict[str, Any] = {"recording_id": self._recording, "offsets": [start, end]}
        if recording.origin.channel is not None:
            if not self._has_channels:
                self._database.add_extra_table_column("windows", "channel", int)
                self._has_channels = True
            row["channel"] = recording.origin.channel
        self._windows.append(row)
        self._vectors.append(scores)
        self._any = True
        if len(self._windows) == _ROWS:
            try:
                self._write()
            except _REFUSALS as error:
                raise OutputError(f"cannot write {self._path}: {error}") from error

    def take(self, event: Event, memory: Memory | None) -> None:
        """Events do not matter."""

    def close(self) -> list[Event]:
        """Give the folder its name. Raises OutputError where it has no window."""
        if self._temporary and not self._any:
            self.abandon()
            raise OutputError(f"{self._path}: no window was embedded: nothing is written")
        if self._temporary:
            try:
                self._finish(self._temporary)
            except _REFUSALS as error:
                self.abandon()
                raise OutputError(f"cannot write {self._path}: {error}") from error
            self._temporary = None
        return []

    def _finish(self, folder: Path) -> None:
        """Write what is left, and give the folder its name."""
        self._write()
        globs = [
            {"dataset_name": name, "base_path": base, "file_glob": "**/*", "target_sample_rate_hz": self._rate}
            for base, name in self._projects.items()
        ]
        for key, value in (("edgebird", self._made), ("audio_sources", {"audio_globs": globs})):
            self._database.insert_metadata(key, self._metadata(value))
        self._database.commit()
        self._database.db.close()
        folder.rename(self._path)

    def abandon(self) -> None:
        """Delete it."""
        if self._temporary:
            self._database.db.close()
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _insert(self, recording: Recorded) -> int:
        """Insert a recording; its number."""
        path, relative = recording.origin.path, recording.relative
        assert path is not None  # it is no live source
        folder = encodable(str(path.absolute().parents[len(relative.parts) - 1]))
        project = self._projects.get(folder)
        if project is None:
            project = Path(folder).name or "recordings"
            if project in self._projects.values():
                project = folder  # of two folders of one name
            self._projects[folder] = project
        place = encodable(relative.parts[0]) if len(relative.parts) > 1 else project
        if (place, project) not in self._deployments:
            self._deployments[place, project] = self._database.insert_deployment(place, project)
        name, deployment = encodable(relative.as_posix()), self._deployments[place, project]
        return int(self._database.insert_recording(name, recording.origin.started, deployment))

    def _write(self) -> None:
        if self._windows:
            vectors = np.concatenate(self._vectors).reshape(len(self._windows), -1)
            self._database.insert_windows_batch(self._windows, vectors, handle_duplicates="allow")
        self._windows, self._vectors = [], []


def require_hoplite() -> None:
    """Raise NotInstalledError without perch-hoplite. It is not imported: see `HopliteSink.open`."""
    if find_spec("perch_hoplite") is None:
        raise NotInstalledError(_MISSING)


def _imported() -> tuple[Any, Any]:
    """Its configurations and databases. Raises NotInstalledError where a part of it is missing."""
    try:
        from ml_collections import config_dict
        from perch_hoplite.db import sqlite_usearch_impl
    except ImportError as error:
        raise NotInstalledError(f"{_MISSING} ({error})") from error
    return config_dict, sqlite_usearch_impl
