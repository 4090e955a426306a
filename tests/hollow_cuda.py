"""A CUDA that computes nothing: with it the real CUDA provider of ONNX Runtime loads, names its kernels and takes the
nodes of a graph, on a machine without a GPU. Whether a session opens is ONNX Runtime's own answer; what it would
compute is nobody's.

For every function that the providers of a wheel want there is one of that name which succeeds; those that give
memory, copy it or tell of the device do so, and graphs are counted (hollow_captures, hollow_launches), with the copies
in them that would not copy what was captured (hollow_stale).
`python -m tests.read_kernels` reads the table of kernels with it.
Needs gcc and binutils (nm, objdump).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

from edgebird.runtimes.cudart import FUNCTIONS

TOOLS = ("gcc", "nm", "objdump")
_LIBRARY = re.compile(r"lib(cu|nv)\w+\.so\.\d+")
_CAPABILITY = (8, 6)  # of the device that it tells of

_MEMORY = "{ *p = calloc(1, n ? n : 1); return 0; }"
_SPECIAL = {
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int *n) { *n = 1; return 0; }",
    "cudaGetDevice": "int cudaGetDevice(int *n) { *n = 0; return 0; }",
    "cudaMalloc": f"int cudaMalloc(void **p, size_t n) {_MEMORY}",
    "cudaMallocHost": f"int cudaMallocHost(void **p, size_t n) {_MEMORY}",
    "cudaHostAlloc": f"int cudaHostAlloc(void **p, size_t n, unsigned flags) {_MEMORY}",
    "cudaFree": "int cudaFree(void *p) { free(p); return 0; }",
    "cudaFreeHost": "int cudaFreeHost(void *p) { free(p); return 0; }",
    "cudaMemcpy": "int cudaMemcpy(void *to, void *from, size_t n, int kind) { memcpy(to, from, n); return 0; }",
    "cudaMemcpyAsync": "int cudaMemcpyAsync(void *to, void *from, size_t n, int kind, void *stream) "
    "{ if (capturing && kind == 1) keep(to, from, n); else memcpy(to, from, n); return 0; }",
    "cudaMemGetInfo": "int cudaMemGetInfo(size_t *left, size_t *all) { *left = *all = (size_t)8 << 30; return 0; }",
    "cudaDeviceGetAttribute": "int cudaDeviceGetAttribute(int *value, int which, int device) "
    f"{{ *value = which == 75 ? {_CAPABILITY[0]} : which == 76 ? {_CAPABILITY[1]} : which != 18; return 0; }}",
    "cudaRuntimeGetVersion": "int cudaRuntimeGetVersion(int *v) { *v = 12080; return 0; }",
    "cudaDriverGetVersion": "int cudaDriverGetVersion(int *v) { *v = 13000; return 0; }",
    "cudaStreamBeginCapture": "int cudaStreamBeginCapture(void *stream, int mode) "
    "{ capturing = calloc(1, sizeof *capturing); return 0; }",
    "cudaStreamEndCapture": "int hollow_captures = 0; int cudaStreamEndCapture(void *stream, void **p) "
    "{ hollow_captures++; *p = capturing; capturing = 0; return 0; }",
    "cudaStreamIsCapturing": "int cudaStreamIsCapturing(void *stream, int *told) { *told = !!capturing; return 0; }",
    "cudaLaunchHostFunc": "int cudaLaunchHostFunc(void *stream, void (*call)(void *), void *p) "
    "{ if (capturing) capturing->nodes[capturing->count++].kind = 3; call(p); return 0; }",
    "cudaGraphGetNodes": "int cudaGraphGetNodes(struct graph *g, void **nodes, size_t *n) "
    "{ *n = g->count; for (int i = 0; nodes && i < g->count; i++) nodes[i] = &g->nodes[i]; return 0; }",
    "cudaGraphNodeGetType": "int cudaGraphNodeGetType(struct node *a, int *kind) { *kind = a->kind; return 0; }",
    "cudaGraphMemcpyNodeGetParams": "int cudaGraphMemcpyNodeGetParams(struct node *a, size_t *p) "
    "{ p[4] = (size_t)a->from; p[12] = (size_t)a->to; p[16] = a->size; p[17] = p[18] = p[19] = 1; return 0; }",
    "cudaGraphMemcpyNodeSetParams1D": "int cudaGraphMemcpyNodeSetParams1D(struct node *a, void *to, void *from) "
    "{ a->from = from; return 0; }",
    "cudaGraphInstantiate": "int cudaGraphInstantiate(void **p, void *g, unsigned long long flags) "
    "{ *p = g; return 0; }",
    "cudaGraphLaunch": "int hollow_launches = 0, hollow_stale = 0; int cudaGraphLaunch(struct graph *g, void *stream) "
    "{ hollow_launches++; for (int i = 0; i < g->count; i++) "
    "hollow_stale += !!memcmp(g->nodes[i].from, g->nodes[i].said, g->nodes[i].size); return 0; }",
    "cudnnGetVersion": "size_t cudnnGetVersion(void) { return 91000; }",
    "getInferLibVersion": "int getInferLibVersion(void) { return 101300; }",
}
_TEXTS = re.compile(r"\w+(ErrorString|ErrorName|StatusName|StatusString)")
# Offsets of cudaDeviceProp, the same in CUDA 12 and 13 as far as they are used here.
_PROPERTIES = """int {name}(char *p, int device) {{
  memset(p, 0, 1000); strcpy(p, "none"); *(size_t *)(p + 288) = (size_t)8 << 30; *(size_t *)(p + 296) = 49152;
  *(int *)(p + 304) = 65536; *(int *)(p + 308) = 32; *(int *)(p + 320) = 1024;
  *(int *)(p + 360) = {major}; *(int *)(p + 364) = {minor}; return 0;
}}"""
# TensorRT gives objects: every method of this one returns 0.
_OBJECT = """struct node { int kind; char *to, *from, *said; size_t size; };
static struct graph { int count; struct node nodes[4000]; } *capturing;
static void keep(char *to, char *from, size_t n) {
  struct node *a = &capturing->nodes[capturing->count++];
  *a = (struct node){1, to, from, memcpy(malloc(n), from, n), n};
}
static int nothing(void) { return 0; }
static void *methods[200], *object[1];
static void *an_object(void) { for (int i = 0; i < 200; i++) methods[i] = nothing; object[0] = methods; return object; }
"""


def missing_tool() -> str | None:
    """The first program that it needs and this machine lacks."""
    return next((tool for tool in TOOLS if shutil.which(tool) is None), None)


def build(onnxruntime: Path, folder: Path) -> Path:
    """Write the libraries that the providers of a wheel want into `folder`, which then belongs on LD_LIBRARY_PATH.

    onnxruntime: the package as it is unpacked or installed. Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for library, functions in _wanted(onnxruntime / "capi").items():
        source, versions = folder / f"{library}.c", folder / f"{library}.map"
        lines = [_function(name) for name in sorted(functions)]
        source.write_text("\n".join(["#include <stdlib.h>", "#include <string.h>", _OBJECT, *lines, ""]))
        versions.write_text(f"{library} {{ global: *; }};\n")
        command = ["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", "-o", str(folder / library), str(source)]
        marked = () if library.startswith("libnv") and "nvrtc" not in library else (f"-Wl,--version-script={versions}",)
        subprocess.run([*command, f"-Wl,-soname,{library}", *marked], check=True)
    return folder


def _wanted(capi: Path) -> dict[str, set[str]]:
    """Library -> the functions that the CUDA and TensorRT providers want of it."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for name in ("cuda", "tensorrt"):
        provider = capi / f"libonnxruntime_providers_{name}.so"
        for needed in re.findall(r"NEEDED\s+(\S+)", _told("objdump", "-p", provider)):
            if _LIBRARY.fullmatch(needed):
                wanted[needed]  # also if nothing of it is called
        for line in _told("nm", "-D", "--undefined-only", provider).splitlines():
            function, _, library = line.split()[-1].partition("@")
            library = library.lstrip("@") or _home(function)
            if _LIBRARY.fullmatch(library):
                wanted[library].add(function)
    for library in wanted:
        if library.startswith("libcudart"):
            wanted[library].update(FUNCTIONS)
    return wanted


def _home(function: str) -> str:
    """The library of a function whose symbol does not name it."""
    if re.match(r"cu[A-Z]\w+$", function):
        return "libcuda.so.1"
    if "NvOnnx" in function:
        return "libnvonnxparser.so.10"
    return "libnvinfer.so.10" if function.startswith(("createInfer", "getInfer", "getPluginRegistry")) else ""


def _function(name: str) -> str:
    if name in _SPECIAL:
        return _SPECIAL[name]
    if name.startswith("cudaGetDeviceProperties"):
        return _PROPERTIES.format(name=name, major=_CAPABILITY[0], minor=_CAPABILITY[1])
    if _TEXTS.fullmatch(name):
        return f'const char *{name}(int code) {{ return "none"; }}'
    if name.endswith("_INTERNAL") or name == "getPluginRegistry":
        return f"void *{name}(void) {{ return an_object(); }}"
    if "Create" in name:
        return f"static int made_{name}; int {name}(void **p) {{ *p = &made_{name}; return 0; }}"
    return f"int {name}(void) {{ return 0; }}"


def _told(*command: object) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
