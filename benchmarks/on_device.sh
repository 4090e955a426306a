#!/usr/bin/env bash
# Run once on a Jetson or a computer with an NVIDIA GPU: doctor, build, verify and bench of a bundle, packed into one
# file to send back. Takes minutes, needs no root, changes nothing but BUNDLE/engines. Needs `edgebird` on the path (a
# venv that is activated), or its command in EDGEBIRD.
#
#   benchmarks/on_device.sh BUNDLE [RUNTIME...]        RUNTIME: tensorrt (default), tensorrt-rtx, ort-cuda, ort-tensorrt
set -uo pipefail

if [ $# -lt 1 ] || [ ! -f "$1/card.json" ]; then
    echo "usage: $0 BUNDLE [RUNTIME...]    (a bundle is a folder with a card.json)" >&2
    exit 2
fi
bundle=$1
shift
runtimes=("${@:-tensorrt}")
edgebird=${EDGEBIRD:-edgebird}
report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT
failures=0

# note NAME COMMAND...: keep what a command prints, its exit code and how long it took.
note() {
    local name=$1 code=0 started=$SECONDS
    shift
    echo "$name: $*" >&2
    "$@" >"$report/$name.txt" 2>"$report/$name.log" || code=$?
    echo "$name exit=$code seconds=$((SECONDS - started))" | tee -a "$report/summary.txt" >&2
    [ "$code" = 0 ] || { failures=$((failures + 1)); tail -n 1 "$report/$name.log" >&2; }
    return "$code"
}

# look NAME COMMAND...: the same for facts of the system, which may be missing and are no failures then.
look() {
    local name=$1 code=0
    shift
    if command -v "$1" >/dev/null 2>&1; then
        "$@" >"$report/$name.txt" 2>&1 || code=$?
        echo "$name exit=$code" >>"$report/summary.txt"
    else
        echo "$name missing: there is no $1 here" >>"$report/summary.txt"
    fi
}

note doctor "$edgebird" doctor
cp "$bundle/card.json" "$report/"
look nvpmodel nvpmodel -q
look clocks jetson_clocks --show
look nvidia-smi nvidia-smi -q
look packages dpkg -l 'nvidia-jetpack*' 'tensorrt*' 'libnvinfer*' 'python3-libnvinfer*'
look memory free -m
[ -r /etc/nv_tegra_release ] && cp /etc/nv_tegra_release "$report/"

precisions=$(python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["precisions"])' "$bundle/card.json")
for runtime in "${runtimes[@]}"; do
    for precision in $precisions; do
        case $runtime in
            tensorrt | tensorrt-rtx)
                note "build.$runtime.$precision" "$edgebird" build "$bundle" --runtime "$runtime" \
                    --precision "$precision" --rebuild -v || continue
                cp "$bundle/engines/model.$precision.$runtime.json" "$report/" ;;
        esac
        note "verify.$runtime.$precision" "$edgebird" verify "$bundle" --runtime "$runtime" \
            --precision "$precision" --json -v || continue
        note "bench.$runtime.$precision" "$edgebird" bench "$bundle" --runtime "$runtime" \
            --precision "$precision" --scenario single --scenario offline --scenario multi --scenario listen \
            --seconds 30 --json "$report/bench.$runtime.$precision.json" --html "$report/bench.$runtime.$precision.html"
    done
done

packed="edgebird-report-$(date +%Y%m%d-%H%M%S).tar.gz"
tar -czf "$packed" -C "$report" .
echo "$packed: $failures failures. Please send it back (it holds the card, logs and figures, no audio)." >&2
echo "$packed"
[ "$failures" = 0 ]
