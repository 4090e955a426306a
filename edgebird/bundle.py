"""The bundle: a folder with a card, graphs and golden data, read with every hash checked, written whole or not at all.

docs/bundle.md describes the files.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from edgebird.calibration import Calibration
from edgebird.card import Card, Precision, parse_card, read_card
from edgebird.errors import BundleError, OutputError
from edgebird.files import atomic_path, exchange, file_sha256, remove_orphans, sync, temporary_beside
from edgebird.parity import BF16_OF
from edgebird.types import FloatArray

CARD_FILE = "card.json"
GOLDEN_FILE = "golden.npz"
# What reading golden data that are damaged raises.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, soundfile.SoundFileError)


@dataclass(frozen=True, slots=True, eq=False)
class GoldenData:
    """Real audio and what the original network says of it.

    audio: int16 [windows, window_samples], full scale 32768; of a model of places float32 [places, 3]. scores: float64
    [windows, classes]. names: what is heard. recordings: which recording each window is of; () if nobody noted it.
    """

    audio: NDArray[np.int16] | FloatArray
    scores: NDArray[np.float64]
    names: tuple[str, ...]
    recordings: tuple[str, ...] = ()

    def windows(self) -> FloatArray:
        """As models take it: float32 [windows, window_samples], -1 to 1; of a model of places as it is."""
        scale = np.float32(32768) if self.audio.dtype == np.int16 else np.float32(1)
        windows: FloatArray = self.audio.astype(np.float32) / scale
        return windows


def read_golden(path: Path) -> GoldenData:
    """Golden data from its file: the audio as FLAC, or as it is. Raises what reading a damaged file raises."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names, scores = tuple(map(str, arrays["names"])), arrays["scores"]
        recordings = tuple(map(str, arrays["recordings"])) if "recordings" in arrays else ()
        if "flac" not in arrays:
            return GoldenData(arrays["audio"], scores, names, recordings)
        samples, _rate = soundfile.read(io.BytesIO(arrays["flac"].tobytes()), dtype="int16")
        return GoldenData(samples.reshape(len(names), -1), scores, names, recordings)


def write_golden(path: Path, golden: GoldenData, sample_rate: int) -> None:
    """Write golden data with its audio as FLAC, which is a third of its size; places (sample_rate 0) as they are."""
    if not sample_rate:
        np.savez_compressed(path, audio=golden.audio, scores=golden.scores, names=np.array(golden.names))
        return
    flac = io.BytesIO()
    soundfile.write(flac, golden.audio.reshape(-1), sample_rate, format="FLAC", subtype="PCM_16")
    audio = np.frombuffer(flac.getvalue(), np.uint8)
    names, recordings = np.array(golden.names), np.array(golden.recordings, np.str_)
    np.savez_compressed(path, flac=audio, scores=golden.scores, names=names, recordings=recordings)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: every file named in its card was there and had its hash."""

    path: Path
    card: Card

    def model(self, precision: str = "fp32") -> Path:
        """Path of the graph of a precision; raises BundleError if the bundle has none."""
        try:
            return self.path / self.card.precisions[precision].file
        except KeyError:
            if made_of := BF16_OF.get(precision):
                raise BundleError(
                    f"{self.path}: {precision} has no graph of its own: --runtime openvino makes it of {made_of}"
                ) from None
            have = ", ".join(self.card.precisions)
            raise BundleError(f"{self.path}: no {precision} graph in this bundle, it has {have}") from None

    def graph_of(self, precision: str) -> Precision:
        """What the card says of the graph that a precision is computed from; raises BundleError if there is none, or
        if the export found that it must not be.
        """
        name = BF16_OF.get(precision, precision)
        self.model(name)
        graph = self.card.precisions[name]
        if precision in graph.refuses:
            raise BundleError(f"{self.path}: {precision} was refused when it was exported: {graph.refuses[precision]}")
        return graph

    def golden(self) -> GoldenData:
        """Read the golden data; raises BundleError if there is none or it does not fit the card."""
        if self.card.golden is None:
            raise BundleError(f"{self.path}: this bundle has no golden data, so nothing can be proven with it")
        path = self.path / self.card.golden.file
        try:
            data = read_golden(path)
        except _DAMAGED as error:
            raise BundleError(f"{path}: not golden data: {error}") from error
        wanted = (len(data.names), self.card.window_samples), (len(data.names), len(self.card.labels))
        if (data.audio.shape, data.scores.shape) != wanted:
            raise BundleError(f"{path}: {data.audio.shape = }, {data.scores.shape = }, wanted {wanted}")
        return data


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open a bundle and check the hash of every file its card names. Raises BundleError."""
    folder = Path(path)
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        reason = "no such bundle" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise BundleError(f"{folder}: {reason}") from error
    if not stat.S_ISDIR(mode):
        raise BundleError(f"{folder}: a bundle is a folder")
    card = read_card(folder / CARD_FILE)
    for name, sha256 in card.hashes().items():
        try:
            found = file_sha256(folder / name)
        except OSError as error:
            raise BundleError(f"{folder / name}: cannot be read: {error.strerror}") from error
        if found != sha256:
            raise BundleError(f"{folder / name}: damaged or replaced: its SHA-256 is {found}, not {sha256}")
    return Bundle(folder, card)


def seal(path: str | os.PathLike[str]) -> Bundle:
    """Write the hashes of the files, and the digest, into a card written by hand; then open the bundle.

    For models that edgebird did not export: write card.json (docs/bundle.md), put the ONNX file beside it, seal.
    Any `sha256` in the card may be an empty string before. A cascade is of the graphs that it was cut from: of others
    it is taken out.
    """
    folder = Path(path)
    file = folder / CARD_FILE
    try:
        card = parse_card(file.read_bytes(), file)
        precisions = {
            name: replace(value, sha256=file_sha256(folder / value.file)) for name, value in card.precisions.items()
        }
        golden = replace(card.golden, sha256=file_sha256(folder / card.golden.file)) if card.golden else None
        with atomic_path(file) as temporary:
            same = precisions == dict(card.precisions)
            sealed = replace(card, precisions=precisions, golden=golden, cascade=card.cascade if same else None)
            temporary.write_bytes(sealed.to_bytes())
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    return open_bundle(folder)


def with_calibration(bundle: Bundle, calibration: Calibration | None) -> Bundle:
    """Write a calibration into the card of a bundle, or take it out; all else stays. Raises OutputError."""
    card = replace(bundle.card, calibration=calibration)
    with atomic_path(bundle.path / CARD_FILE) as temporary:
        temporary.write_bytes(card.to_bytes())
    return replace(bundle, card=card)


@contextmanager
def new_bundle(path: Path, force: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; it takes the place of `path` when the body is through, and goes if it fails.

    There is no moment without a bundle, also if the power is cut, but on file systems that cannot exchange two folders.

    A folder that exists needs `force`, and then is replaced only if it is a bundle or empty. Raises OutputError.
    """
    temporary: Path | None = None
    try:
        if path.exists() and not force:
            raise OutputError(f"{path} exists: use --force to replace it, or another --out")
        if path.exists() and not _may_be_replaced(path):
            raise OutputError(f"{path} is not a bundle: --force replaces bundles only")
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(target.parent)
        temporary = temporary_beside(target)
        temporary.mkdir()
        temporary.chmod(0o755)
        yield temporary
        _replace(target, temporary)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _may_be_replaced(path: Path) -> bool:
    """Whether it is an empty folder, or one with a card of a bundle in it; not one that holds something else."""
    if not path.is_dir():
        return False
    if not any(path.iterdir()):
        return True
    try:
        content = json.loads((path / CARD_FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format", "precisions", "labels"} <= content.keys()


def _replace(target: Path, new: Path) -> None:
    """Put `new` where `target` is, and the old one where `new` was; if that fails the old one is there again."""
    for path in (*new.rglob("*"), new):
        sync(path)
    if not target.exists():
        new.rename(target)
    elif not exchange(new, target):
        # A file system without exchange, such as NFS: between two renames there is none. Who is killed there leaves the
        # old one under this name, which nobody takes for an orphan.
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
        old.rename(new)
    sync(target.parent)
