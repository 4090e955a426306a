#!/usr/bin/env bash
# onnxruntime-gpu (PyPI, Linux x86-64): from 1.29.0 on the CUDA provider has no code for GPUs of compute capability 10.0
# (B200, GB200), and no PTX that a driver could compile for them; 1.28.0 has both. Nothing in the release's name or in
# its metadata says so, and get_available_providers() lists CUDA on such a GPU.
#
# Behaviour. The fat binaries in libonnxruntime_providers_cuda.so name the architectures there is code for: entries of
# kind 2 are machine code, those of kind 1 PTX.
#
# Output seen:
#   1.28.0: sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 ptx_120
#   1.29.0: sm_75 sm_80 sm_86 sm_89 sm_90 sm_120
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for package in onnxruntime-gpu==1.28.0 onnxruntime-gpu==1.29.0; do
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_x86_64 --dest "${package##*==}" "$package"
done

python3 - <<'PY' | tee seen
import pathlib
import struct
import zipfile

MAGIC = b"\x50\xed\x55\xba"
for version in ("1.28.0", "1.29.0"):
    (wheel,) = pathlib.Path(version).glob("*.whl")
    data = zipfile.ZipFile(wheel).read("onnxruntime/capi/libonnxruntime_providers_cuda.so")
    found, at = set(), data.find(MAGIC)
    while at >= 0:
        kind_of_file, header, size = struct.unpack_from("<HHQ", data, at + 4)
        end = at + 4
        if (kind_of_file, header) == (1, 16):
            entry, end = at + header, at + header + size
            while entry < end:
                kind, _, head, length, arch = struct.unpack_from("<HHIQ12xI", data, entry)
                found.add((kind == 1, arch))
                entry += head + length
        at = data.find(MAGIC, end)
    print(f"{version}:", *(f"{'ptx' if is_ptx else 'sm'}_{arch}" for is_ptx, arch in sorted(found)))
PY

diff seen - <<'EXPECTED'
1.28.0: sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 ptx_120
1.29.0: sm_75 sm_80 sm_86 sm_89 sm_90 sm_120
EXPECTED
echo "as it was"
