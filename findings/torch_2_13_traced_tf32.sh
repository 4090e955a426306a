#!/usr/bin/env bash
# torch 2.13.0 (PyPI): a traced model keeps the TF32 switch of when it was traced; torch.backends.cudnn.allow_tf32 of
# the process that loads it is not read.
#
# Behaviour. torch.jit.trace records a convolution with all arguments of the internal operator, and the last of them is
# allow_tf32. Its value at tracing, True by default, is a constant in the saved file. On an NVIDIA H200 (driver
# 580.159.04, torch 2.11.0+cu130) a traced network was loaded with allow_tf32 = False, and the profiler showed only
# kernels named tf32f32_tf32. So a comparison "without TF32" is none, unless NVIDIA_TF32_OVERRIDE=0 is set before the
# libraries of CUDA are first used. The file shows it without a GPU.
#
# Output seen:
#   traced with allow_tf32 = True, loaded with False: the convolution says True
#   traced with allow_tf32 = False, loaded with True: the convolution says False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/python -m pip install --quiet torch==2.13.0 numpy
venv/bin/python - <<'PY' | tee seen
import warnings

import torch

warnings.simplefilter("ignore")
for traced in (True, False):
    torch.backends.cudnn.allow_tf32 = traced
    torch.jit.trace(torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 8, 8)).save("traced.pt")
    torch.backends.cudnn.allow_tf32 = not traced
    graph = torch.jit.load("traced.pt").inlined_graph
    (node,) = graph.findAllNodes("aten::_convolution")
    *_, last = node.inputs()
    print(f"traced with allow_tf32 = {traced}, loaded with {not traced}: the convolution says {bool(last.toIValue())}")
PY

diff seen - <<'EXPECTED'
traced with allow_tf32 = True, loaded with False: the convolution says True
traced with allow_tf32 = False, loaded with True: the convolution says False
EXPECTED
echo "as it was"
