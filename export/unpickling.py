"""Reading pickles of tensors without running anything: names on a list get stand-ins of ours, all others are refused.

What is no tensor (settings, a path, a NumPy array) becomes an `Ignored`, whose value nobody needs. No code of the
file's choosing is behind any name.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import torch
from torch import Tensor


class RefusedError(Exception):
    """A pickle asked for a name that is not on the list."""


class Module:
    """Stands in for every class of a TorchScript archive; its attributes are parameters, buffers and children."""

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)


class Ignored:
    """Stands in for what is no tensor, whose value is not needed; takes whatever a pickle puts into it."""

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """As of a list."""

    add = append


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the numbers of tensors are in the file."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still in the file; the moments of an optimizer stay there."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self, source: Callable[[str], bytes]) -> Tensor:
        """The tensor itself, from the bytes of its storage. Raises ValueError if they are too few."""
        data = torch.frombuffer(bytearray(source(self.storage.key)), dtype=self.storage.dtype)
        if math.prod(self.size) > len(data):
            raise ValueError(f"a tensor of {list(self.size)} in {len(data)} numbers")
        return data.as_strided(self.size, self.stride, self.offset)


def _rebuild_tensor(storage: Storage, offset: int, size: Any, stride: Any, *_rest: object) -> StoredTensor:
    return StoredTensor(storage, offset, tuple(size), tuple(stride))


def _first(value: object, *_rest: object) -> object:
    """What is behind names that only tag, encode or wrap a value."""
    return value


def _rebuild_with_attributes(rebuild: object, _kind: object, arguments: Any, *_rest: object) -> object:
    """A tensor of a class of its own, or with Python attributes."""
    return _REBUILT[rebuild](*arguments)  # type: ignore[index]  # of ours alone: KeyError for anything else


_REBUILT: dict[Callable[..., object], Callable[..., object]] = {_rebuild_tensor: _rebuild_tensor, _first: _first}

# Every name a pickle may ask for, and what it gets; those of `_INERT` and `_INERT_PACKAGES` get an `Ignored`.
_ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _rebuild_with_attributes,
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
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.ComplexDoubleStorage": torch.complex128,
}
_BUILTINS = "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple".split()
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath".split()
_INERT = {
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"collections.{name}" for name in ("Counter", "defaultdict", "deque")),
    *(str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)),
    *(f"torch._utils._rebuild_{kind}" for kind in ("sparse_tensor", "tensor_v3")),  # unsigned numbers, for one
    "argparse.Namespace", "types.SimpleNamespace", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
    "copyreg._reconstructor", "copy_reg._reconstructor", "torch.Tensor", "torch.nn.parameter.Parameter",
    "torch.device", "torch._C.Generator", "torch.serialization._get_layout",
}  # fmt: skip
# Whose objects training scripts keep beside the weights: arrays, settings, schedules, and classes of the script itself.
_INERT_PACKAGES = (
    "numpy.core", "numpy._core", "numpy.random", "numpy.ma", "numpy.dtypes", "torch.optim", "__main__", "omegaconf",
    "easydict", "yacs", "ml_collections", "addict", "lightning", "pytorch_lightning", "lightning_fabric",
)  # fmt: skip


def _stand_in(module: str, name: str) -> Any:
    """What a pickle gets for a name. Raises RefusedError for one that is not on the list."""
    if module == "__torch__" or module.startswith("__torch__."):
        return Module
    full = f"{module}.{name}"
    if full in _ALLOWED:
        return _ALLOWED[full]
    inert = module == "numpy" or any(f"{module}.".startswith(f"{package}.") for package in _INERT_PACKAGES)
    if full in _INERT or (inert and "." not in name):
        return Ignored
    raise RefusedError(
        f"refused: its pickle wants {full}, but a checkpoint is tensors only; nothing of it was run: "
        "save its state dict alone, where you trust it"
    )


# The unpickler in Python, not the one in C: that one fills the memory when a damaged file names a high memo index.
class TensorUnpickler(pickle._Unpickler):
    """Unpickles containers of stored tensors and nothing else; storages: key -> all that a tensor was seen in."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name."""
        return _stand_in(module, name)

    def load_build(self) -> None:
        """Set the state of an instance, as pickle does; never of a class or a function of ours."""
        target = self.stack[-2]  # type: ignore[attr-defined]  # the stubs know only the unpickler in C
        if not isinstance(target, (Module, Ignored, OrderedDict, StoredTensor)):
            raise RefusedError(f"refused: its pickle wants to change {target!r}; nothing of it was run")
        if isinstance(target, StoredTensor):
            self.stack.pop()  # type: ignore[attr-defined]  # attributes of a tensor
        else:
            super().load_build()  # type: ignore[misc]

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}

    def persistent_load(self, pid: Any) -> Storage:
        """Where the numbers of a storage are."""
        _kind, dtype, key, *_rest = pid
        if not isinstance(dtype, torch.dtype):
            raise ValueError("a storage that is not one of numbers")
        return self.storages.setdefault(str(key), Storage(str(key), dtype))
