"""Reading checkpoints: a file of tensors, and nothing else.

A checkpoint is data. Pickles are read with an allow-list (tensors, containers, NumPy's numeric scalars); one that
wants anything else is refused with the name of what it wanted, and nothing of it has run. Of a TorchScript archive
only the tensors are read; its code is never loaded.
"""

from __future__ import annotations

import hashlib
import logging
import math
import pickle
import re
import stat
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from edgebird.errors import CheckpointError
from edgebird.files import file_sha256

log = logging.getLogger(__name__)

SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".safetensors")
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.")
# What a reader raises on bytes that are not what they should be.
_DAMAGE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError,
    ImportError, AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
    zlib.error, RecursionError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of one file, under the names of the network, and the SHA-256 of the file (lower-case hex)."""

    path: Path
    sha256: str
    tensors: dict[str, Tensor]

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


def read_checkpoints(paths: Sequence[Path], leftovers: Container[str] = ()) -> list[Checkpoint]:
    """Read the checkpoints that `find_checkpoints` finds; weights that come twice (a fold and its TorchScript) once.

    leftovers: tensors that are not read.
    """
    checkpoints: dict[str, Checkpoint] = {}
    for path in find_checkpoints(paths):
        checkpoint = read_checkpoint(path, leftovers)
        twin = checkpoints.setdefault(checkpoint.fingerprint(), checkpoint)
        if twin is not checkpoint:
            log.warning("%s: left out, it holds the same weights as %s", path, twin.path)
    return list(checkpoints.values())


def read_checkpoint(path: Path, leftovers: Container[str] = ()) -> Checkpoint:
    """Read one checkpoint: a training checkpoint, a bare state dict, safetensors or a TorchScript archive.

    Tensors come as float32 on the CPU (other dtypes as they are), without `module.` and `model.` prefixes and without
    `leftovers`.
    Raises CheckpointError for a file that is missing, damaged, not a checkpoint, or wants to run something.
    """
    try:
        sha256 = file_sha256(path)
        if not path.stat().st_size:
            raise CheckpointError(f"{path}: the file is empty")
        tensors = _read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (_RefusedError, *_DAMAGE) as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from error
    if not tensors:
        raise CheckpointError(f"{path}: not a checkpoint: it holds no state dict of tensors")
    named = {_strip(name): _plain(tensor) for name, tensor in tensors.items()}
    return Checkpoint(path, sha256, {name: tensor for name, tensor in named.items() if name not in leftovers})


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive)
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise EOFError  # an archive without its end
        file.seek(0)
        return _read_legacy(file)


def _reason(error: BaseException) -> str:
    """One line on why a file could not be read."""
    if isinstance(error, _RefusedError):
        return str(error)
    if isinstance(error, EOFError):
        return "truncated, or not a checkpoint"
    line = str(error).strip().partition("\n")[0][:120]
    return f"damaged, or not a checkpoint ({type(error).__name__}{': ' if line else ''}{line})"


def _strip(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.float() if tensor.is_floating_point() else tensor


# ------------------------------------------------------------------------------------------------------------ pickles
class _RefusedError(Exception):
    """A pickle asked for a name that is not on the list."""


class _Module:
    """Stands in for every class of a TorchScript archive; its attributes are parameters, buffers and children."""

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)


class _Ignored:
    """Stands in for NumPy's numeric scalars and their dtypes (a loss), whose value is not needed."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Storage:
    """Where the numbers of tensors are in the file."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _StoredTensor:
    """A tensor that is still in the file; the moments of an optimizer stay there."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, source: Callable[[str], bytes]) -> Tensor:
        """The tensor itself, from the bytes of its storage. Raises ValueError if they are too few."""
        data = torch.frombuffer(bytearray(source(self.storage.key)), dtype=self.storage.dtype)
        if math.prod(self.size) > len(data):
            raise ValueError(f"a tensor of {list(self.size)} in {len(data)} numbers")
        return data.as_strided(self.size, self.stride, self.offset)


def _rebuild_tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_rest: object) -> _StoredTensor:
    return _StoredTensor(storage, offset, tuple(size), tuple(stride))


def _rebuild_parameter(data: _StoredTensor, *_rest: object) -> _StoredTensor:
    return data


def _first(value: object, *_rest: object) -> object:
    """What is behind names that only tag, encode or wrap a value."""
    return value


# Every name a pickle may ask for, and what it gets: no code of the file's choosing is behind any of them.
_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "numpy.core.multiarray.scalar": _Ignored,
    "numpy._core.multiarray.scalar": _Ignored,
    "numpy.dtype": _Ignored,
    "_codecs.encode": _first,  # the bytes of a NumPy scalar, in a pickle of protocol 2
    "torch.Size": _first,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


# The unpickler in Python, not the one in C: that one fills the memory when a damaged file names a high memo index.
class _TensorUnpickler(pickle._Unpickler):
    """Unpickles containers of stored tensors and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise _RefusedError(
                f"refused: its pickle wants {module}.{name}, but a checkpoint is tensors only; nothing of it was run"
            ) from None

    def load_build(self) -> None:
        """Set the state of an instance, as pickle does; never of a class or a function of ours."""
        target = self.stack[-2]  # type: ignore[attr-defined]  # the stubs know only the unpickler in C
        if not isinstance(target, (_Module, _Ignored, OrderedDict)):
            raise _RefusedError(f"refused: its pickle wants to change {target!r}; nothing of it was run")
        super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}

    def persistent_load(self, pid: Any) -> _Storage:
        _kind, dtype, key, *_rest = pid
        if not isinstance(dtype, torch.dtype):
            raise ValueError("a storage that is not one of numbers")
        return _Storage(str(key), dtype)


def _unpickle(file: IO[bytes]) -> Any:
    return _TensorUnpickler(file).load()


# ------------------------------------------------------------------------------------------------------ kinds of files
def _read_archive(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """The state dict of what torch.save or TorchScript wrote."""
    records = [name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(records) != 1:
        raise ValueError(f"{len(records)} data.pkl in this archive")
    (record,) = records
    folder = record.split("/", 1)[0]
    with archive.open(record) as file:
        stored = _stored_tensors(_unpickle(file))
    return {name: tensor.read(lambda key: archive.read(f"{folder}/data/{key}")) for name, tensor in stored.items()}


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def _read_legacy(file: IO[bytes]) -> dict[str, Tensor]:
    """The state dict of what torch.save wrote before torch 1.6: pickles in a row, then the bytes of each storage.

    The pickles: a magic number, the version, facts about the machine, the content, the keys of the storages in order.
    """
    if _unpickle(file) != _LEGACY_MAGIC:
        return {}
    _version, _machine, content, keys = (_unpickle(file) for _ in range(4))
    stored = _stored_tensors(content)
    needed = {tensor.storage.key for tensor in stored.values()}
    storages: dict[str, bytes] = {}
    sizes = {tensor.storage.key: tensor.storage.dtype.itemsize for tensor in _all_stored(content)}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        if str(key) in needed:
            storages[str(key)] = file.read(count * sizes[str(key)])
        else:
            file.seek(count * sizes[str(key)], 1)
    return {name: tensor.read(storages.__getitem__) for name, tensor in stored.items()}


def _stored_tensors(content: object) -> dict[str, _StoredTensor]:
    """By name: the tensors of a tree of modules, of the first usual key that holds a state dict, or of the dict."""
    if isinstance(content, _Module):
        return _attributes(content)
    if not isinstance(content, Mapping):
        return {}
    for key in _CONTAINERS:
        if inner := _stored_tensors(content.get(key)):
            return inner
    return {str(name): value for name, value in content.items() if isinstance(value, _StoredTensor)}


def _attributes(module: _Module) -> dict[str, _StoredTensor]:
    """The tensors of a tree of modules, by their dotted names."""
    tensors: dict[str, _StoredTensor] = {}
    for name, value in vars(module).items():
        if isinstance(value, _StoredTensor):
            tensors[name] = value
        elif isinstance(value, _Module):
            tensors |= {f"{name}.{inner}": tensor for inner, tensor in _attributes(value).items()}
    return tensors


def _all_stored(content: object) -> Iterator[_StoredTensor]:
    """Every tensor anywhere in containers."""
    if isinstance(content, _StoredTensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _all_stored(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _all_stored(value)
