#!/usr/bin/env bash
# What a machine with a GPU and little time is used for. First what must be right: every example of every kernel in all
# dtypes against its reference, and its bits 20 times over; then all tests. Then what is timed: first steps, functions
# and training steps against torch.
#
#   perf/on_gpu.sh [--dry-run] [seconds for the tests] [seconds for each timed row]
#
# Writes examples.txt, tests.txt, start.jsonl, functions.jsonl and step.jsonl under perf/results/<device>/ as it goes, so
# that an interrupted run leaves what it had, and prints the tables last. --dry-run does the same in short on the CPU,
# below the folder in RESULTS or a temporary one. PYTHON chooses the interpreter, as for make.
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
examples=(tests/kernels/test_examples.py tests/kernels/test_determinism.py)
tests=(--durations 10)
start=(import first-step launch)
functions=(--dtypes float32 bfloat16 float16)
steps=()
make=(make --no-print-directory test "PYTHON=$python")
if [ "$dry_run" ]; then
    results=${RESULTS:-$(mktemp -d)}
    export CUDA_VISIBLE_DEVICES=
    examples=(tests/kernels/test_determinism.py -k column_sum)
    tests=(tests/kernels/test_strides.py)
    start=(launch)
    functions=(--families softmax --dtypes float32)
    steps=(--networks digits --dtypes float32)
    make+=(WORKERS=)
fi

with() { "$python" .ci/with.py "$@"; }
# tested NAME ARGUMENTS...: runs pytest for no longer than the tests may take, into NAME.txt.
tested() {
    local name=$1 quoted
    shift
    quoted=$(printf ' %q' "$@")
    echo "$name, $test_seconds s at most: $results/$device/$name.txt"
    PYTHONUNBUFFERED=1 timeout "$test_seconds" "${make[@]}" ARGS="-q$quoted" >"$results/$device/$name.txt" 2>&1
    local status=$?
    tail -n 1 "$results/$device/$name.txt"
    return $status
}

# What there is goes to the terminal, the name of the folder to the shell.
device=$(with -c "
import contextlib, sys, torch
from tritonnet.__main__ import main
from tritonnet.kernels import _tune
with contextlib.redirect_stdout(sys.stderr):
    main()
print(_tune.target(torch.device('cuda' if torch.cuda.is_available() else 'cpu')).name)") || exit
if [ -z "$dry_run" ] && [[ $device == cpu_* ]]; then
    echo "no GPU that torch sees; perf/on_gpu.sh --dry-run does the same in short on the CPU" >&2
    exit 1
fi
mkdir -p "$results/$device"

status=0
tested examples "${examples[@]}" || status=1
tested tests "${tests[@]}" || status=1
with -m perf.start --what "${start[@]}" --results "$results" || status=1
with -m perf.module_call --seconds "$row_seconds" --results "$results" || status=1
with -m perf.functions --seconds "$row_seconds" --results "$results" "${functions[@]}" || status=1
with -m perf.step --seconds "$row_seconds" --results "$results" "${steps[@]}" || status=1
exit $status
