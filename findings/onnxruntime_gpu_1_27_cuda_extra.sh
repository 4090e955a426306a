#!/usr/bin/env bash
# onnxruntime-gpu 1.27.0 (PyPI, Linux x86-64): its extra `cuda` cannot be installed, and it looks for CUDA 13 where
# NVIDIA's packages do not have it.
#
# Behaviour. The wheel is built for CUDA 13.0. The extra `cuda` asks for nvidia-cuda-nvrtc-cu13~=13.0,
# nvidia-cuda-runtime-cu13~=13.0, nvidia-cufft-cu13~=12.0 and nvidia-curand-cu13~=10.0. Of these names only 0.0.1 was
# ever published, a placeholder: since CUDA 13 the packages have no suffix (nvidia-cuda-runtime 13.x). preload_dlls()
# searches nvidia/cuda_runtime/lib and its siblings, the folders of CUDA 12; the packages of CUDA 13 put all libraries
# into nvidia/cu13/lib. 1.28.0 names and finds the packages without the suffix.
#
# Output seen:
#   1.27.0: pip refuses the extra: No matching distribution found for nvidia-cuda-nvrtc-cu13~=13.0
#   1.27.0: built for CUDA 13.0, finds a library in nvidia/cu13/lib: False
#   1.28.0: built for CUDA 13.0, finds a library in nvidia/cu13/lib: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer" >&2; exit 1; }
python3 -m venv pip
# The package is there, so that what follows is no matter of the network.
pip/bin/python -m pip index versions nvidia-cuda-nvrtc-cu13 2>/dev/null | grep -qx 'Available versions: 0.0.1' ||
    { echo "the index does not answer, or there are other versions now" >&2; exit 1; }
tried=$(pip/bin/python -m pip download --quiet --no-deps 'nvidia-cuda-nvrtc-cu13~=13.0' 2>&1 || true)
grep -o 'No matching distribution found for nvidia-cuda-nvrtc-cu13~=13.0' <<<"$tried" |
    sed 's/^/1.27.0: pip refuses the extra: /' | tee -a seen || { echo "$tried"; exit 1; }

for package in onnxruntime-gpu==1.27.0 onnxruntime-gpu==1.28.0; do
    version=${package##*==}
    python3 -m venv "$version"
    "$version/bin/python" -m pip install --quiet "$package"
    "$version/bin/python" - <<'PY' | tee -a seen
import importlib.metadata
import onnxruntime

version = importlib.metadata.version("onnxruntime-gpu")
if version == "1.27.0":
    assert any("nvidia-cuda-nvrtc-cu13~=13.0" in line for line in importlib.metadata.requires("onnxruntime-gpu"))
paths = onnxruntime._get_nvidia_dll_paths(False)
found = any(path[1] == "cu13" for path in paths)
print(f"{version}: built for CUDA {onnxruntime.cuda_version}, finds a library in nvidia/cu13/lib: {found}")
PY
done

diff seen - <<'EXPECTED'
1.27.0: pip refuses the extra: No matching distribution found for nvidia-cuda-nvrtc-cu13~=13.0
1.27.0: built for CUDA 13.0, finds a library in nvidia/cu13/lib: False
1.28.0: built for CUDA 13.0, finds a library in nvidia/cu13/lib: True
EXPECTED
echo "as it was"
