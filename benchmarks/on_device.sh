#!/usr/bin/env bash
# Run once on a Jetson or a computer with an NVIDIA GPU: everything is checked, measured and packed into one file to send
# back. Needs the Python that edgebird is installed in (a venv that is activated), or its path in EDGEBIRD_PYTHON.
#
#   benchmarks/on_device.sh [BUNDLE [RUNTIME...]]      --help tells the rest
set -euo pipefail
exec "${EDGEBIRD_PYTHON:-python3}" -m edgebird.benchmarks.device.run "$@"
