#!/usr/bin/env bash
# What a machine with a GPU and little time is used for: tests, first steps, then training steps against torch.nn.
#
#   perf/on_gpu.sh [--dry-run] [seconds for the tests] [seconds for each timed row]
#
# Writes tests.txt, start.jsonl and step.jsonl under perf/results/<device>/ as it goes, so that an interrupted run leaves
# what it had, and prints the table last. --dry-run does the same in short on the CPU, below the folder in RESULTS or a temporary one.
# PYTHON chooses the interpreter, as for make.
set -uo pipefail
cd "$(dirname "$0")/.."

dry_run=
if [ "${1:-}" = --dry-run ]; then
    dry_run=yes
    shift
fi
test_seconds=${1:-300}
row_seconds=${2:-10}
python=${PYTHON:-python3}
results=${RESULTS:-perf/results}
options=()
start=(import first-step launch)
tests=(--durations 10)
make=(make --no-print-directory test "PYTHON=$python")
if [ "$dry_run" ]; then
    results=${RESULTS:-$(mktemp -d)}
    export CUDA_VISIBLE_DEVICES=
    start=(launch)
    options=(--networks digits --dtypes float32)
    tests=(tests/test_main.py)
    make+=(WORKERS=)
fi

with() { "$python" .ci/with.py "$@"; }
device=$(with -c "
import torch
from tritonnet.kernels import _tune
print(_tune.target(torch.device('cuda' if torch.cuda.is_available() else 'cpu')).name)") || exit
if [ -z "$dry_run" ] && [[ $device == cpu_* ]]; then
    echo "no GPU that torch sees; perf/on_gpu.sh --dry-run does the same in short on the CPU" >&2
    exit 1
fi
mkdir -p "$results/$device"

with -m tritonnet
echo "tests, $test_seconds s at most: $results/$device/tests.txt"
PYTHONUNBUFFERED=1 timeout "$test_seconds" "${make[@]}" ARGS="-q ${tests[*]}" \
    >"$results/$device/tests.txt" 2>&1
tests_status=$?
tail -n 1 "$results/$device/tests.txt"
with -m perf.start --what "${start[@]}" --results "$results"
with -m perf.step --seconds "$row_seconds" --results "$results" "${options[@]}"
steps_status=$?
exit $((tests_status ? tests_status : steps_status))
