#!/usr/bin/env bash
# av (PyAV) 18.1.0 (PyPI wheel for Linux): its FFmpeg says that it is under the LGPL, and it carries x264 and x265.
#
# Behaviour. The wheel brings FFmpeg's libraries and what they need. avcodec_license, which FFmpeg has so that programs may
# ask, says "LGPL version 3 or later", and the configuration has no --enable-gpl. Beside them are libx264 and libx265, which
# are under the GPL (or a licence that is paid for), and the encoders are there: libavcodec is linked to both. Who packs
# the wheel for a device, and goes by what FFmpeg says of itself, ships GPL code as something else.
#
# Output seen:
#   FFmpeg says: LGPL version 3 or later
#   configured with --enable-gpl: False, --enable-libx264: True, --enable-libx265: True
#   in the wheel: libx264, libx265
#   encoders: libx264, libx265
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/python -m pip install --quiet av==18.1.0
venv/bin/python - <<'PY' | tee seen
import ctypes
from pathlib import Path

import av
import av.codec

folder = Path(av.__file__).parent.parent / "av.libs"
(library,) = folder.glob("libavcodec-*")
codec = ctypes.CDLL(str(library))
for question in (codec.avcodec_license, codec.avcodec_configuration):
    question.restype = ctypes.c_char_p
options = codec.avcodec_configuration().decode().split()
print("FFmpeg says:", codec.avcodec_license().decode())
asked = ("--enable-gpl", "--enable-libx264", "--enable-libx265")
print("configured with " + ", ".join(f"{option}: {option in options}" for option in asked))
print("in the wheel:", ", ".join(name for name in ("libx264", "libx265") if list(folder.glob(f"{name}-*"))))
print("encoders:", ", ".join(av.codec.Codec(name, "w").name for name in ("libx264", "libx265")))
PY

diff seen - <<'EXPECTED'
FFmpeg says: LGPL version 3 or later
configured with --enable-gpl: False, --enable-libx264: True, --enable-libx265: True
in the wheel: libx264, libx265
encoders: libx264, libx265
EXPECTED
echo "as it was"
