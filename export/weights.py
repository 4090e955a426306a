"""Which tensors of a checkpoint are the weights: state dicts, the wrappers around them, averages beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from edgebird.errors import CheckpointError
from edgebird.export.unpickling import Module, StoredTensor

T = TypeVar("T", StoredTensor, Tensor)

_CONTAINERS = ("state_dict", "model_state_dict", "model")
_LEADING = ("module.", "model.")
# What wraps a module or a part of it adds to its names: torch.compile, DataParallel, FSDP, recomputation.
_WRAPPERS = frozenset({"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_AVERAGE = re.compile(r"ema(?!il)|swa|averag|shadow|teacher", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """The weights of a checkpoint.

    name: the keys that lead to them, such as `state_dict`; "" where the file is the state dict. tensors: by the names
    of the network. others: names of other weights of the same network in the file, such as averages (EMA), which
    `--weights` takes. nameless: averages that are a list of tensors, so that nobody can tell which is which.
    filled: names that the chosen average has not, and which are those of the weights beside it.
    """

    name: str
    tensors: dict[str, T]
    others: tuple[str, ...] = ()
    nameless: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found(Generic[T]):
    """State dicts by the keys that lead to them. marked: those in which a landmark stands."""

    dicts: dict[str, dict[str, T]] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    nameless: list[str] = field(default_factory=list)


def choose(content: object, landmarks: frozenset[str], wanted: str | None, kind: type[T]) -> Choice[T]:
    """The weights in the content of a file, without the names that wrappers add.

    landmarks: tensors by whose names a network is found, wherever it stands in the file and whatever wraps it; where
    none is seen, the usual keys are looked at. wanted: the name of other weights, or a part of it that is unique.
    kind: of the tensors. Raises CheckpointError if there are none, or several and nobody says which.
    """
    found: _Found[T] = _Found()
    for path, tensors in _state_dicts(content, kind, (), set(), found.nameless):
        _unwrap(".".join(path), tensors, landmarks, found)
    usual = [name for name in found.dicts if _rank(name)[1] <= len(_CONTAINERS)]
    candidates = sorted([name for name in found.dicts if name in found.marked] or usual, key=_rank)
    if not candidates:
        raise CheckpointError("not a checkpoint: it holds no state dict of tensors")
    main = candidates[0]
    others: list[str] = [one for one in found.dicts if one != main and _alike(found.dicts[one], found.dicts[main])]
    if wanted is None:
        rivals: list[str] = [one for one in others if _rank(one) == _rank(main)]
        if rivals:
            raise CheckpointError(f"it holds several weights: take one with --weights, of {_listed([main, *rivals])}")
        return Choice(main, found.dicts[main], tuple(others), tuple(found.nameless))
    name = _named(wanted, [main, *others], found.nameless)
    tensors = found.dicts[name]
    filled: tuple[str, ...] = ()
    if name != main and tensors.keys() < found.dicts[main].keys():
        filled = tuple(key for key in found.dicts[main] if key not in tensors)
        tensors = {**found.dicts[main], **tensors}
    return Choice(name, tensors, tuple(one for one in (main, *others) if one != name), filled=filled)


def _listed(names: list[str]) -> str:
    return ", ".join(name or "the tensors at its top" for name in names)


def _named(wanted: str, names: list[str], nameless: list[str]) -> str:
    """The one that is called so. Raises CheckpointError."""
    fitting = [name for name in names if name == wanted] or [n for n in names if wanted.lower() in n.lower()]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and any(wanted.lower() in name.lower() for name in nameless):
        raise CheckpointError(
            f"--weights {wanted}: {nameless[0]} is a list of tensors without names, which cannot be read"
        )
    problem = "fits several weights" if fitting else "no such weights"
    raise CheckpointError(f"--weights {wanted}: {problem}, it holds {_listed(names)}")


def _rank(name: str) -> tuple[bool, int]:
    """What comes first is taken: weights before averages of them, the usual keys before the top and other keys."""
    first = name.partition(".")[0]
    usual = _CONTAINERS.index(first) if first in _CONTAINERS else len(_CONTAINERS) + bool(name)
    return bool(_AVERAGE.search(name)), usual


def _alike(tensors: Mapping[str, T], main: Mapping[str, T]) -> bool:
    """Whether these are weights of the same network: they have most of its names."""
    return 2 * len(tensors.keys() & main.keys()) > len(main)


def _state_dicts(
    content: object, kind: type[T], path: tuple[str, ...], seen: set[int], nameless: list[str]
) -> Iterator[tuple[tuple[str, ...], dict[str, T]]]:
    """All in nested containers, with the keys that lead to each."""
    if id(content) in seen:  # a small file can nest the same dict in itself a million times
        return
    seen.add(id(content))
    if isinstance(content, Module):
        yield path, {name: value for name, value in _attributes(content, seen) if isinstance(value, kind)}
        return
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, kind)}
        if tensors:
            yield path, tensors
        inner = sorted(((str(name), value) for name, value in content.items()), key=lambda item: _rank(item[0]))
    elif isinstance(content, (list, tuple)):
        if len(content) > 1 and all(isinstance(value, kind) for value in content) and _AVERAGE.search(".".join(path)):
            nameless.append(".".join(path))
        inner = [(str(index), value) for index, value in enumerate(content)]
    else:
        return
    for name, value in inner:
        yield from _state_dicts(value, kind, (*path, name), seen, nameless)


def _attributes(module: Module, seen: set[int]) -> Iterator[tuple[str, object]]:
    """What is in a tree of modules, by its dotted name."""
    for name, value in vars(module).items():
        if isinstance(value, Module):
            if id(value) not in seen:
                seen.add(id(value))
                yield from ((f"{name}.{inner}", tensor) for inner, tensor in _attributes(value, seen))
        else:
            yield name, value


# ------------------------------------------------------------------------------------------------------------ wrappers
def _unwrap(path: str, tensors: Mapping[str, T], landmarks: frozenset[str], found: _Found[T]) -> None:
    """Add a state dict, or each of the networks that stand in it under names of their own."""
    split = {name: tuple(name.split(".")) for name in tensors}
    marks = {_root(parts, tuple(landmark.split("."))) for parts in split.values() for landmark in landmarks}
    roots: list[tuple[str, ...]] = sorted((mark for mark in marks if mark is not None), key=lambda r: (-len(r), r))
    if not roots:
        found.dicts[path] = _plain_names({_strip(name): tensor for name, tensor in tensors.items()})
        return
    parts_of: dict[tuple[str, ...], dict[str, T]] = {one: {} for one in roots}
    for name, tensor in tensors.items():
        within: list[tuple[str, ...]] = [one for one in roots if split[name][: len(one)] == one]
        if within:  # else it stands beside the network: a loss with weights, a count of averaged steps
            parts_of[within[0]][".".join(split[name][len(within[0]) :])] = tensor
    root: tuple[str, ...]
    for root in roots:
        called = path if len(roots) == 1 else ".".join([path, *root]).removeprefix(".")
        found.dicts[called] = _plain_names(parts_of[root])
        found.marked.add(called)


def _root(parts: tuple[str, ...], landmark: tuple[str, ...]) -> tuple[str, ...] | None:
    """What stands before a landmark in a name, wrappers within it passed over; None if the name does not end so."""
    end = len(parts)
    for part in reversed(landmark):
        while end and parts[end - 1] != part and parts[end - 1] in _WRAPPERS:
            end -= 1
        if not end or parts[end - 1] != part:
            return None
        end -= 1
    return parts[:end]


def _strip(name: str) -> str:
    while name.startswith(_LEADING):
        name = name.split(".", 1)[1]
    return name


def _plain_names(tensors: dict[str, T]) -> dict[str, T]:
    """Without the names that wrappers add within a network, unless two tensors would then have one name."""
    plain = {".".join(p for p in name.split(".") if p not in _WRAPPERS): tensor for name, tensor in tensors.items()}
    return plain if len(plain) == len(tensors) else tensors
