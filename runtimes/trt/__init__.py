"""TensorRT and TensorRT-RTX: engines are built on the device that runs them, from the graph of a bundle.

build.py      `edgebird build`: an engine and its sidecar in the bundle, proven
request.py    what to build
plan.py       from a graph to an engine in bytes
progress.py   how far a build is, and how it is stopped
sidecar.py    what an engine was built from, where and how; nothing is loaded that does not fit
opening.py    opens the engine of a bundle, proven on this GPU
contexts.py   working memory that all batch sizes share, and how TensorRT-RTX compiles
runtime.py    runs it
trust.py      what this computer made itself, outside of all bundles
bindings.py   TensorRT's Python module
gpu.py        the few calls of CUDA that this takes

Needs neither torch nor onnx.
"""
