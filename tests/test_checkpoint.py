"""Checkpoints: every kind of file gives the same network, and none of them can run anything or pass with a fault."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebird.errors import CheckpointError
from tests.conftest import require

torch = require("torch")
safetensors_torch = require("safetensors.torch")

from edgebird.export.checkpoint import Checkpoint, Reading, find_checkpoints, read_checkpoint, read_checkpoints  # noqa: E402
from edgebird.export.families.folds.network import FoldModel  # noqa: E402
from tests.seeded import loaded, narrow_architecture, save_checkpoint, save_torchscript, seeded_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of writing such files, not of reading
Tensors = dict[str, Any]
READING = Reading(landmarks=frozenset({"backbone.0.conv1.weight"}))
Writer = Callable[[Path, FoldModel], Path]


def narrow(experiment: str = "exp108", classes: int = 6) -> FoldModel:
    return seeded_model(experiment, architecture=narrow_architecture(classes))


@pytest.fixture(scope="module")
def model() -> FoldModel:
    """Not written to."""
    return narrow()


@pytest.fixture
def state(model: FoldModel) -> Tensors:
    """A copy that a test may change."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


# --------------------------------------------------------------------------------------------------- every kind of file
def training(path: Path, model: FoldModel) -> Path:
    return save_checkpoint(path.with_suffix(".bin"), model, optimizer=True)


def training_numpy2(path: Path, model: FoldModel) -> Path:
    content = {"epoch": 1, "state_dict": model.state_dict(), "best_loss": np.float64(0.9), "lr": np.float32(1e-3)}
    return saved(path.with_suffix(".ckpt"), content)


def bare(path: Path, model: FoldModel) -> Path:
    return saved(path.with_suffix(".pth"), model.state_dict())


def of_data_parallel(path: Path, model: FoldModel) -> Path:
    return saved(path.with_suffix(".bin"), {"model": {f"module.{k}": v for k, v in model.state_dict().items()}})


def of_a_wrapper(path: Path, model: FoldModel) -> Path:
    state = {f"module.model.{k}": torch.nn.Parameter(v) for k, v in model.state_dict().items()}
    return saved(path.with_suffix(".pth"), {"model_state_dict": state})


def before_torch_1_6(path: Path, model: FoldModel) -> Path:
    content = {"state_dict": model.state_dict(), "best_loss": np.float64(0.9)}
    return saved(path.with_suffix(".bin"), content, _use_new_zipfile_serialization=False)


def safetensors(path: Path, model: FoldModel) -> Path:
    path = path.with_suffix(".safetensors")
    safetensors_torch.save_file(model.state_dict(), path)
    return path


def torchscript(path: Path, model: FoldModel) -> Path:
    return save_torchscript(path.with_suffix(".pt"), model)


def views_of_one_buffer(path: Path, model: FoldModel) -> Path:
    """Offsets and strides matter: each tensor is a part of one storage, matrices lie in it column by column."""
    flat, state = (
        torch.cat([t.T.reshape(-1) if t.ndim == 2 else t.reshape(-1) for t in model.state_dict().values()]),
        {},
    )
    start = 0
    for name, tensor in model.state_dict().items():
        part = flat[start : start + tensor.numel()]
        state[name] = part.view(tensor.T.shape).T if tensor.ndim == 2 else part.view(tensor.shape)
        start += tensor.numel()
    return saved(path.with_suffix(".bin"), state)


KINDS: list[Writer] = [
    training, training_numpy2, bare, of_data_parallel, of_a_wrapper, before_torch_1_6, safetensors, torchscript,
    views_of_one_buffer,
]  # fmt: skip


@pytest.fixture(scope="module")
def written(model: FoldModel, tmp_path_factory: pytest.TempPathFactory) -> dict[Writer, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: kind(folder / kind.__name__, model) for kind in KINDS}


def assert_same_tensors(checkpoint: Checkpoint, wanted: Tensors) -> None:
    assert checkpoint.tensors.keys() == wanted.keys()
    for name, tensor in checkpoint.tensors.items():
        assert tensor.dtype == torch.float32, name
        assert torch.equal(tensor, wanted[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_tensors(kind: Writer, written: dict[Writer, Path], model: FoldModel) -> None:
    assert_same_tensors(read_checkpoint(written[kind]), model.state_dict())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_other_precisions_come_as_float32(dtype: str, suffix: str, state: Tensors, tmp_path: Path) -> None:
    stored = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
    path = tmp_path / f"fold{suffix}"
    safetensors_torch.save_file(stored, path) if suffix == ".safetensors" else saved(path, stored)
    assert_same_tensors(read_checkpoint(path), {name: tensor.float() for name, tensor in stored.items()})


def test_a_folder_like_kaggles_gives_its_checkpoints_in_order_and_nothing_else(
    written: dict[Writer, Path], tmp_path: Path
) -> None:
    names = ("exp105_eca_nfnet_l0/fold_0_model.bin", "exp106_eca_nfnet_l0/fold_3_model.bin", "exp107/fold_4_jit_b4.PT")
    for name in (*reversed(names), "exp105_eca_nfnet_l0/oof.csv", "exp107/train.log", "labels.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(written[bare], tmp_path / name)
    assert find_checkpoints([tmp_path]) == [tmp_path / name for name in names]


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "oof.csv").touch()
    with pytest.raises(CheckpointError, match=r"no checkpoint in this folder \(wanted \.bin"):
        find_checkpoints([tmp_path])


def test_a_fold_and_its_torchscript_twin_count_once(
    written: dict[Writer, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(written[training], tmp_path / "fold_2_model.bin")
    shutil.copy(written[torchscript], tmp_path / "fold_2_model_jit_bs4.pt")
    with caplog.at_level(logging.WARNING):
        folds = loaded([tmp_path])
    assert [source.file for source in folds.sources] == ["fold_2_model.bin"]
    assert "fold_2_model_jit_bs4.pt: left out, it holds the same weights as" in caplog.text


def test_the_leftover_of_pcen_may_have_any_shape_and_value_and_does_not_make_a_twin_another_fold(
    tmp_path: Path,
) -> None:
    state = narrow("exp107").state_dict()
    saved(tmp_path / "fold_4_model.bin", {"state_dict": state})
    state["pcen.last_state"] = torch.full((4, 1, 128), torch.nan)
    saved(tmp_path / "fold_4_model_jit_bs4.pt", state)
    assert loaded([tmp_path / "fold_4_model_jit_bs4.pt"]).sources[0].experiment == "exp107"
    assert len(loaded([tmp_path]).models) == 1


# ------------------------------------------------------------------------------------------ wrappers, extras, averages
def prefixed(state: Tensors, before: str, old: str = "", new: str = "") -> Tensors:
    """The state dict as a wrapper names it."""
    return {before + name.replace(old, new, 1): tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[Tensors], Tensors]] = {
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "compiled, then parallel": lambda s: prefixed(s, "module._orig_mod."),
    "a part compiled": lambda s: prefixed(s, "", "backbone.", "backbone._orig_mod."),
    "a part parallel, in a wrapper": lambda s: prefixed(s, "net.", "backbone.", "backbone.module."),
    "any attribute": lambda s: prefixed(s, "student.encoder."),
    "beside a loss with weights": lambda s: {**prefixed(s, "model."), "criterion.pos_weight": torch.ones(6)},
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(3), **prefixed(s, "module.")},
    "FSDP": lambda s: prefixed(s, "_fsdp_wrapped_module.", "backbone.1.", "backbone.1._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("place", ["top", "state_dict", "net", "states.0"])
def test_what_wraps_the_network_is_found_by_structure(wrapper: str, place: str, state: Tensors, tmp_path: Path) -> None:
    wrapped = WRAPPED[wrapper](state)
    contents: dict[str, object] = {"top": wrapped, "states.0": {"states": [wrapped]}}
    path = saved(tmp_path / "fold.pt", contents.get(place, {place: wrapped, "epoch": 3}))
    folds = loaded([path])
    assert torch.equal(folds.models[0].backbone[0].conv1.weight, state["backbone.0.conv1.weight"])
    assert_same_tensors(read_checkpoint(path, READING), state)


EXTRAS: dict[str, object] = {
    "array": np.arange(6.0).reshape(2, 3),
    "array of text": np.array(["comcuc", "eurrob"]),
    "array of objects": np.array([{"a": 1}, None], dtype=object),
    "scalar": np.float64(0.9),
    "kind of number": np.float32,
    "state of a generator": np.random.RandomState(1).get_state(),
    "generator": np.random.default_rng(1),
    "Namespace": argparse.Namespace(lr=1e-3, out=Path("/out"), classes={"a", "b"}, kind=float),
    "path": Path("/data/folds"),
    "time": datetime.datetime.now(datetime.timezone.utc),
    "device": torch.device("cpu"),
    "dtype": torch.float16,
    "set": {1, 2},
    "complex": torch.zeros(2, dtype=torch.complex64),
    "unsigned": torch.zeros(2, dtype=torch.uint16),
    "sparse": torch.eye(3).to_sparse(),
    "tensor inside": argparse.Namespace(mean=torch.zeros(3)),
    "itself": None,
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_lies_beside_the_tensors_is_ignored(
    extra: str, old: bool, protocol: int, state: Tensors, tmp_path: Path
) -> None:
    content: dict[str, object] = {"hyper_parameters": EXTRAS[extra], "state_dict": state, "more": [EXTRAS[extra]]}
    if extra == "itself":
        content["hyper_parameters"] = content
    path = tmp_path / "fold.pt"
    saved(path, content, _use_new_zipfile_serialization=not old, pickle_protocol=protocol)
    assert_same_tensors(read_checkpoint(path), state)


def test_classes_of_the_training_script_are_ignored(
    state: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks keep their settings as a class, by reference, or as an object of one."""
    kind = type("CFG", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "CFG", kind, raising=False)
    one = kind()
    one.lr = 1e-3
    assert_same_tensors(read_checkpoint(saved(tmp_path / "fold.pt", {"cfg": kind, "it": one, "model": state})), state)


def test_tensors_with_attributes_are_tensors(state: Tensors, tmp_path: Path) -> None:
    """Optimizers mark parameters so."""
    kept = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    kept["head.weight"].decay = False
    marked = state["head.bias"].clone()
    marked.group = "head"
    assert_same_tensors(read_checkpoint(saved(tmp_path / "fold.pt", {**kept, "head.bias": marked})), state)


def averaged(state: Tensors) -> Tensors:
    return {name: tensor * 0.5 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


AVERAGES: dict[str, Callable[[Tensors, Tensors], dict[str, Any]]] = {
    "state_dict_ema": lambda s, ema: {"state_dict_ema": ema, "state_dict": s},
    "model_ema": lambda s, ema: {"model": s, "model_ema": prefixed(ema, "module.")},
    "ema.module": lambda s, ema: {"ema": {"module": ema, "decay": 0.999}, "net": s},
    "callbacks.EMA.ema_weights": lambda s, ema: {"callbacks": {"EMA": {"ema_weights": ema}}, "state_dict": s},
    "ema_model": lambda s, ema: {**prefixed(s, "model."), **prefixed(ema, "ema_model.")},
    "state_dict.ema_model": lambda s, ema: {"state_dict": {**s, **prefixed(ema, "ema_model.")}},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_beside_the_weights_is_named_and_can_be_chosen(name: str, state: Tensors, tmp_path: Path) -> None:
    """Taken in silence it would be another network than the user means; left in silence, a worse one."""
    ema = averaged(state)
    path = saved(tmp_path / "fold.pt", AVERAGES[name](state, ema))
    plain = read_checkpoint(path, READING)
    assert_same_tensors(plain, state)
    assert (plain.others, plain.title) == ((name,), "fold.pt")
    assert plain.hint == f"; it also holds {name}: --weights {name} takes that instead"
    for asked in ("ema", name):
        chosen = read_checkpoint(path, replace(READING, weights=asked))
        assert_same_tensors(chosen, ema)
        assert chosen.title == f"fold.pt ({name})"
    with pytest.raises(CheckpointError, match=rf"fold.pt: --weights swa: no such weights, it holds .*{name}"):
        read_checkpoint(path, replace(READING, weights="swa"))


def test_an_error_about_the_weights_names_the_average(state: Tensors, tmp_path: Path) -> None:
    ema = averaged(state)
    del state["head.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(head\.bias\); it also holds ema: --weights ema takes"):
        loaded([saved(tmp_path / "fold.pt", {"model": state, "ema": ema})])


def test_an_average_of_parameters_alone_takes_the_rest_of_the_weights(
    state: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ema = averaged(state)
    banks = [name for name in ema if name.endswith((".fb", ".window"))]
    for name in banks:
        del ema[name]
    path = saved(tmp_path / "fold.pt", {"model": state, "ema": {"shadow": ema}})
    with caplog.at_level(logging.INFO):
        chosen = read_checkpoint(path, replace(READING, weights="ema"))
    assert_same_tensors(chosen, ema | {name: state[name] for name in banks})
    assert f"ema.shadow has no {', '.join(banks)}: taken from model" in caplog.text


def test_an_average_without_names_is_told_and_not_guessed_at(
    state: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path / "fold.pt", {"model": state, "ema": {"decay": 0.9, "shadow_params": list(state.values())}})
    with caplog.at_level(logging.INFO):
        assert_same_tensors(read_checkpoint(path, READING), state)
    assert "ema.shadow_params is a list of tensors without names" in caplog.text
    with pytest.raises(CheckpointError, match=r"--weights ema: ema.shadow_params is a list of tensors without names"):
        read_checkpoint(path, replace(READING, weights="ema"))


def test_several_weights_of_which_none_comes_first_are_not_guessed_at(state: Tensors, tmp_path: Path) -> None:
    path = saved(tmp_path / "folds.pt", {"fold0": state, "fold1": averaged(state)})
    with pytest.raises(CheckpointError, match=r"it holds several weights: take one with --weights, of fold0, fold1"):
        read_checkpoint(path, READING)
    assert_same_tensors(read_checkpoint(path, replace(READING, weights="fold1")), averaged(state))


def test_an_average_alone_is_the_weights(state: Tensors, tmp_path: Path) -> None:
    path = saved(
        tmp_path / "fold.pt", {"ema_state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}
    )
    checkpoint = read_checkpoint(path, READING)
    assert_same_tensors(checkpoint, state)
    assert checkpoint.hint == ""


def test_a_small_file_that_nests_itself_takes_no_time(tmp_path: Path) -> None:
    nested: object = {"weight": torch.zeros(2)}
    for _ in range(200):
        nested = {"a": nested, "b": nested}
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_checkpoint(saved(tmp_path / "fold.pt", nested), READING)


# -------------------------------------------------------------------------------------------- a checkpoint runs nothing
class Call:
    """Unpickling it calls a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def pickled(function: object, *arguments: object) -> Callable[[Path, int], bytes]:
    """A pickle that calls the function with `arguments`, in which MARK stands for a file to be made."""

    def write(mark: Path, protocol: int) -> bytes:
        filled = [a.replace("MARK", str(mark)) if isinstance(a, str) else a for a in arguments]
        return pickle.dumps({"state_dict": {"head.bias": Call(function, *filled)}}, protocol)

    return write


def inside_an_allowed_name(mark: Path, protocol: int) -> bytes:
    """The global `_rebuild_tensor_v2.__globals__` of torch._utils: a name with dots, as protocol 4 can say it."""
    names = "torch._utils", "_rebuild_tensor_v2.__globals__"
    text = b"".join(pickle.SHORT_BINUNICODE + bytes([len(name)]) + name.encode() for name in names)
    return pickle.PROTO + b"\x04" + text + pickle.STACK_GLOBAL + pickle.STOP


# What a pickle wants, and under which names it may say so (those of protocol 2 are Python 2's).
PAYLOADS = {
    "eval": (pickled(eval, "open('MARK', 'w')"), r"(builtins|__builtin__)\.eval\b"),
    "system": (pickled(os.system, "touch MARK"), r"(posix|nt)\.system\b"),
    "Popen": (pickled(subprocess.Popen, "touch MARK"), r"(subprocess|commands)\.Popen\b"),
    "getattr": (pickled(getattr, OrderedDict, "fromkeys"), r"(builtins|__builtin__)\.getattr\b"),
    "jit": (pickled(torch.jit.load, "MARK"), r"torch\.jit\._serialization\.load\b"),
    "globals": (inside_an_allowed_name, r"torch\._utils\._rebuild_tensor_v2\.__globals__"),
}


def plain(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)


def in_archive(path: Path, payload: bytes) -> None:
    saved(path, {"weight": torch.zeros(2)})
    replace_records(path, {"data.pkl": payload})


def in_torchscript(path: Path, payload: bytes) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    replace_records(path, {"data.pkl": payload})


def in_legacy(path: Path, payload: bytes) -> None:
    """Magic number, protocol, machine: then the content, then the keys of its storages."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2))


def replace_records(path: Path, contents: dict[str, bytes]) -> None:
    """Rewrite a zip archive with records replaced; a name that ends in `/` stands for all in that folder."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            inner = name.split("/", 1)[1]
            key = next((k for k in contents if inner == k or (k.endswith("/") and inner.startswith(k))), None)
            archive.writestr(name, content if key is None else contents[key])


@pytest.mark.parametrize("place", [plain, in_archive, in_torchscript, in_legacy])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_pickle_that_wants_more_is_refused_by_name_and_leaves_no_trace(
    payload: str, protocol: int, place: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    write, wanted = PAYLOADS[payload]
    path = tmp_path / "fold_0_model.bin"
    place(path, write(tmp_path / "mark", protocol))
    with pytest.raises(CheckpointError, match=f"fold_0_model.bin: refused: its pickle wants {wanted}"):
        read_checkpoint(path)
    assert list(tmp_path.iterdir()) == [path]


def test_of_a_torchscript_file_nothing_but_the_tensors_is_read(
    written: dict[Writer, Path], model: FoldModel, tmp_path: Path
) -> None:
    path, mark = Path(shutil.copy(written[torchscript], tmp_path / "fold.pt")), tmp_path / "mark"
    evil = PAYLOADS["system"][0](mark, 2)
    replace_records(path, {"code/": b"import os; os.system('touch mark') (", "constants.pkl": evil})
    assert_same_tensors(read_checkpoint(path), model.state_dict())
    assert not mark.exists()


# ------------------------------------------------------------------------------------------- files with something wrong
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<html>Sign in to Kaggle</html>" * 50, "damaged, or not a checkpoint"),
        (pickle.dumps([1, 2]), "holds no state dict of tensors"),
        (pickle.dumps({"state_dict": {}}), "holds no state dict of tensors"),
        (b"PK\x05\x06" + bytes(18), "damaged, or not a checkpoint"),
    ],
    ids=["empty", "web page", "list", "no tensors", "empty archive"],
)
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_one_clear_line(
    content: bytes, message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"fold{suffix}"
    path.write_bytes(content)
    if suffix == ".safetensors" and content:
        message = "damaged, or not a checkpoint"
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_list_of_tensors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fold\.bin: no such file"):
        read_checkpoints([tmp_path / "fold.bin"])
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        read_checkpoint(tmp_path / "fold.bin")
    with pytest.raises(CheckpointError, match="holds no state dict of tensors"):
        read_checkpoint(saved(tmp_path / "list.bin", [torch.zeros(2)]))


@pytest.mark.parametrize("kind", [training, before_torch_1_6, safetensors, torchscript])
@pytest.mark.parametrize("kept", [0.0001, 0.3, 0.9999])
def test_a_truncated_file_is_said_to_be_one(
    kind: Writer, kept: float, written: dict[Writer, Path], tmp_path: Path
) -> None:
    data = written[kind].read_bytes()
    path = tmp_path / written[kind].name
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r"(truncated|damaged), or not a checkpoint") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # torch's advice to run whatever the file wants


@pytest.mark.parametrize("kind", [training, before_torch_1_6, safetensors, torchscript])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(where=st.floats(0, 1), from_end=st.booleans(), byte=st.integers(0, 255))
def test_no_damage_is_an_unforeseen_error(
    kind: Writer, where: float, from_end: bool, byte: int, damaged: dict[Writer, tuple[Path, bytes]]
) -> None:
    path, data = damaged[kind]
    edge = int(where * min(len(data) - 1, 30_000))  # headers and indices are at the ends
    at = len(data) - 1 - edge if from_end else edge
    path.write_bytes(data[:at] + bytes([byte]) + data[at + 1 :])
    with contextlib.suppress(CheckpointError):
        read_checkpoint(path).fingerprint()


@pytest.fixture(scope="module")
def damaged(written: dict[Writer, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[Writer, tuple[Path, bytes]]:
    """Where to write a damaged copy, and what to damage."""
    folder = tmp_path_factory.mktemp("damaged")
    return {kind: (folder / path.name, path.read_bytes()) for kind, path in written.items()}


def test_a_damaged_memo_index_does_not_eat_the_memory(tmp_path: Path) -> None:
    """Nine bytes: an empty dict, remembered as number 2**24. With 2**30, C's unpickler takes 16 GB for it."""
    path = tmp_path / "fold.bin"
    path.write_bytes(b"\x80\x02}r" + (1 << 24).to_bytes(4, "little") + b".")
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_tensor_that_claims_more_than_its_bytes_is_refused(tmp_path: Path) -> None:
    """Strides of 0 make a small file a tensor of terabytes; it must not become a traceback, or eat the memory."""
    huge = torch.zeros(1, dtype=torch.float16).expand(1 << 42)
    path = saved(tmp_path / "fold.bin", {"head.weight": huge})
    with pytest.raises(CheckpointError, match=r"fold\.bin"):
        read_checkpoints([path])


# ----------------------------------------------------------------------------------------- tensors with something wrong
def without(*names: str) -> Callable[[Tensors], None]:
    def change(state: Tensors) -> None:
        for name in names:
            del state[name]

    return change


def with_(**tensors: Any) -> Callable[[Tensors], None]:
    return lambda state: state.update({name.replace("__", "."): tensor for name, tensor in tensors.items()})


def poisoned(state: Tensors) -> None:
    for name, value in (("head.bias", np.nan), ("backbone.2.weight", np.inf), ("global_pool.p", -np.inf)):
        state[name].view(-1)[-1] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("head.bias"), r"1 missing \(head\.bias\)"),
        (
            without(*(f"backbone.0.conv{i}.gain" for i in (1, 2, 3, 4))),
            r"4 missing \(backbone\.0\.conv1\.gain, backbone\.0\.conv2\.gain, backbone\.0\.conv3\.gain, \.\.\.\)",
        ),
        (without("head.weight"), r"missing.*head\.weight"),
        (without("backbone.1.2.0.conv3.weight"), r"missing.*backbone\.1\.2\.0\.conv3\.weight"),
        (with_(fc__weight=torch.zeros(2)), r"1 not of this network \(fc\.weight\)"),
        (with_(head__bias=torch.zeros(7)), r"1 misshapen \(head\.bias \[7\] instead of \[6\]\)"),
        (with_(head__weight=torch.zeros(6)), r"1 misshapen \(head\.weight \[6\] instead of \[6, 32\]\)"),
        (with_(backbone__1__9__0__conv1__weight=torch.zeros(4, 4, 1, 1)), r"backbone\.1\.9"),
        (poisoned, r"3 not finite \(.*backbone\.2\.weight"),
    ],
)
def test_faulty_tensors_are_named_and_counted(
    change: Callable[[Tensors], None], message: str, state: Tensors, tmp_path: Path
) -> None:
    change(state)
    path = saved(tmp_path / "fold.bin", state)
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded([path])
    assert str(caught.value).startswith(f"{path}: ")


def test_folds_of_different_classes_are_no_ensemble(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{classes}.bin", narrow(classes=classes).state_dict()) for classes in (6, 7)]
    with pytest.raises(CheckpointError, match=r"different numbers of classes: \[6, 7\]"):
        loaded(paths)


# ----------------------------------------------------------------------------------------------------- which experiment
@pytest.mark.parametrize(
    ("experiment", "path", "override", "recognised"),
    [
        ("exp105", "fold_0_model.bin", None, "exp105"),
        ("exp107", "fold_0_model.bin", None, "exp107"),
        ("exp108", "exp105/fold_0_model.bin", None, "exp108"),  # the tensors count
        ("exp106", "exp106_eca_nfnet_l0/fold_3_model.bin", None, "exp106"),
        ("exp106", "exp105_and_exp106/exp106_eca_nfnet_l0/fold_3_model.bin", None, "exp106"),  # the nearest name counts
        ("exp106", "exp105_folds/exp106_fold_3_model.bin", None, "exp106"),
        ("exp106", "fold_3_model.bin", "exp106", "exp106"),
        ("exp106", "exp106/fold_3_model.bin", "exp105", "exp105"),
    ],
)
def test_the_experiment_is_known_by_its_tensors_then_by_its_path(
    experiment: str, path: str, override: str | None, recognised: str, tmp_path: Path
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    saved(tmp_path / path, narrow(experiment).state_dict())
    fold = loaded([tmp_path / path], override)
    assert (fold.sources[0].experiment, fold.models[0].experiment.name) == (recognised, recognised)


def test_an_experiment_is_known_by_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exp106_eca_nfnet_l0").mkdir()
    monkeypatch.chdir(tmp_path / "exp106_eca_nfnet_l0")
    saved(Path("fold_3_model.bin"), narrow("exp106").state_dict())
    fold = loaded([Path("fold_3_model.bin")])
    assert fold.sources[0].experiment == "exp106"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("exp107", "the tensors are those of exp108, not of exp107"),
        ("exp105", "the tensors are those of exp108, not of exp105"),
        ("exp109", "unknown experiment 'exp109': use one of exp105, exp106, exp107, exp108"),
    ],
)
def test_an_experiment_that_does_not_fit_is_refused(override: str, message: str, written: dict[Writer, Path]) -> None:
    with pytest.raises(CheckpointError, match=message):
        loaded([written[bare]], override)


def test_another_network_is_told_what_was_wanted(state: Tensors, tmp_path: Path) -> None:
    state["logmelspec_extractor.0.mel_scale.fb"] = torch.zeros(513, 40)
    with pytest.raises(CheckpointError, match=r"wanted a filter bank .*\[513, 64\].*found .*mel_scale\.fb \[513, 40\]"):
        loaded([saved(tmp_path / "fold.bin", state)])


@pytest.mark.parametrize("target", ["c__torch__\nX\n", "ccollections\nOrderedDict\n", "c_codecs\nencode\n"])
def test_a_pickle_cannot_change_the_reader(target: str, tmp_path: Path) -> None:
    """State set on a class or function of ours would reach the folds that are read after it."""
    path = tmp_path / "fold.bin"
    path.write_bytes(target.encode() + b"(N}X\x06\x00\x00\x00plantdK\x01stb.")
    with pytest.raises(CheckpointError, match="wants to change"):
        read_checkpoint(path)


def test_a_scripted_archive_with_lists_is_read(tmp_path: Path) -> None:
    """TorchScript writes lists of numbers by functions of its own."""

    class Listed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sizes = [1, 2]
            self.weight = torch.nn.Parameter(torch.arange(3.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight + self.sizes[0]

    path = tmp_path / "fold.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its scripting deprecated
        torch.jit.script(Listed()).save(str(path))
    assert read_checkpoint(path).tensors["weight"].tolist() == [0.0, 1.0, 2.0]
