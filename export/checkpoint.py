"""Reading checkpoints: a file of tensors, and nothing else.

A checkpoint is data. Pickles are read with an allow-list (tensors, containers, settings and arrays that lie beside
them); one that wants anything else is refused with the name of what it wanted, and nothing of it has run
(unpickling.py). Of a TorchScript archive only the tensors are read; its code is never loaded. weights.py tells which of
the tensors are the network.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from torch import Tensor

from edgebird.errors import CheckpointError
from edgebird.export.unpickling import RefusedError, StoredTensor, TensorUnpickler
from edgebird.export.weights import Choice, choose
from edgebird.files import file_sha256

log = logging.getLogger(__name__)

SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".safetensors")
# What a reader raises on bytes that are not what they should be.
_DAMAGE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    ImportError, AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
    zlib.error, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """How checkpoints are read.

    leftovers: tensors that are not read. landmarks: tensors by whose names a network is found (see `weights.choose`).
    weights: which weights of a file that holds several, such as `ema`; None for the trained ones.
    """

    leftovers: Container[str] = ()
    landmarks: frozenset[str] = frozenset()
    weights: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of one file, under the names of the network, and the SHA-256 of the file (lower-case hex).

    chosen: the name of the weights that were asked for; None for those that are taken by themselves. others: what else
    the file has of this network, such as an average of the weights.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    chosen: str | None = None
    others: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the file, and which weights of it."""
        return f"{self.path.name} ({self.chosen})" if self.chosen else self.path.name

    @property
    def hint(self) -> str:
        """What else is in the file and how to get it, for the end of a message; "" where nobody needs it."""
        if self.chosen or not self.others:
            return ""
        return f"; it also holds {', '.join(self.others)}: --weights {self.others[0]} takes that instead"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def fingerprint(self) -> str:
        """SHA-256 over the names and bytes of the tensors: equal for the same weights in another kind of file."""
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            digest.update(name.encode() + self.tensors[name].contiguous().float().numpy().tobytes())
        return digest.hexdigest()


def find_checkpoints(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given; folders searched for checkpoints (.bin .pth .pt .ckpt .safetensors), in sorted order."""
    found: list[Path] = []
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file") from None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
        if is_folder:
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise CheckpointError(f"{path}: no checkpoint in this folder (wanted {' '.join(SUFFIXES)})")
            found += inside
        else:
            found.append(path)
    return found


def read_checkpoints(paths: Sequence[Path], reading: Reading = Reading()) -> list[Checkpoint]:
    """Read the checkpoints that `find_checkpoints` finds; weights that come twice (a fold and its TorchScript) once."""
    checkpoints: dict[str, Checkpoint] = {}
    for path in find_checkpoints(paths):
        checkpoint = read_checkpoint(path, reading)
        twin = checkpoints.setdefault(checkpoint.fingerprint(), checkpoint)
        if twin is not checkpoint:
            log.warning("%s: left out, it holds the same weights as %s", path, twin.path)
    return list(checkpoints.values())


def read_checkpoint(path: Path, reading: Reading = Reading()) -> Checkpoint:
    """Read one checkpoint: a training checkpoint, a bare state dict, safetensors or a TorchScript archive.

    Tensors come as float32 on the CPU (other dtypes as they are), without what wrappers add to their names and without
    leftovers.
    Raises CheckpointError for a file that is missing, damaged, not a checkpoint, or wants to run something.
    """
    try:
        sha256 = file_sha256(path)
        if not path.stat().st_size:
            raise CheckpointError("the file is empty")
        choice = _read(path, reading)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (RefusedError, *_DAMAGE) as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from error
    if filled := [name for name in choice.filled if name not in reading.leftovers]:
        shown = f"{', '.join(filled[:3])}{', ...' if len(filled) > 3 else ''}"
        log.info(
            "%s: %s has no %s: taken from %s", path, choice.name, shown, choice.others[0] or "the weights beside it"
        )
    if choice.nameless:
        log.info("%s: %s is a list of tensors without names, which cannot be taken", path, choice.nameless[0])
    tensors = {name: _plain(tensor) for name, tensor in choice.tensors.items() if name not in reading.leftovers}
    return Checkpoint(path, sha256, tensors, choice.name if reading.weights else None, choice.others)


def _read(path: Path, reading: Reading) -> Choice[Tensor]:
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return choose(load_file(path), reading.landmarks, reading.weights, Tensor)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, reading)
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise EOFError  # an archive without its end
        file.seek(0)
        return _read_legacy(file, reading)


def _reason(error: BaseException) -> str:
    """One line on why a file could not be read."""
    if isinstance(error, RefusedError):
        return str(error)
    if isinstance(error, EOFError):
        return "truncated, or not a checkpoint"
    line = str(error).strip().partition("\n")[0][:120]
    return f"damaged, or not a checkpoint ({type(error).__name__}{': ' if line else ''}{line})"


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() else tensor


# ------------------------------------------------------------------------------------------------------ kinds of files
def _loaded(choice: Choice[StoredTensor], source: Callable[[str], bytes]) -> Choice[Tensor]:
    """The same with the tensors themselves. source: gives the bytes of a storage."""
    tensors = {name: tensor.read(source) for name, tensor in choice.tensors.items()}
    return Choice(choice.name, tensors, choice.others, choice.nameless, choice.filled)


def _read_archive(archive: zipfile.ZipFile, reading: Reading) -> Choice[Tensor]:
    """The weights in what torch.save or TorchScript wrote."""
    records = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(records) != 1:
        raise ValueError(f"{len(records)} data.pkl in this archive")
    (record,) = records
    folder = record.split("/", 1)[0]
    with archive.open(record) as file:
        content = TensorUnpickler(file).load()
    choice = choose(content, reading.landmarks, reading.weights, StoredTensor)
    return _loaded(choice, lambda key: archive.read(f"{folder}/data/{key}"))


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _read_legacy(file: IO[bytes], reading: Reading) -> Choice[Tensor]:
    """The weights in what torch.save wrote before torch 1.6: pickles in a row, then the bytes of each storage.

    The pickles: a magic number, the version, facts about the machine, the content, the keys of the storages in order.
    """
    if TensorUnpickler(file).load() != _LEGACY_MAGIC:
        raise CheckpointError("not a checkpoint: it holds no state dict of tensors")
    for _version_and_machine in range(2):
        TensorUnpickler(file).load()
    unpickler = TensorUnpickler(file)
    choice = choose(unpickler.load(), reading.landmarks, reading.weights, StoredTensor)
    needed = {tensor.storage.key for tensor in choice.tensors.values()}
    storages: dict[str, bytes] = {}
    for key in map(str, TensorUnpickler(file).load()):
        (count,) = struct.unpack("<q", file.read(8))
        size = count * unpickler.storages[key].dtype.itemsize
        if key in needed:
            storages[key] = file.read(size)
        else:
            file.seek(size, 1)
    return _loaded(choice, storages.__getitem__)
