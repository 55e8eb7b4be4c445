#!/usr/bin/env bash
# Fuzzes the CPU engine: fuzz.sh [SECONDS]
# First 10,000 random problems and 200,000 random requests for a plan, then libFuzzer with AddressSanitizer and
# UndefinedBehaviorSanitizer for SECONDS (60 by default; give 36000 for a night), half for each target. Inputs that
# reach something new are kept in build/fuzz/TARGET, and one that fails in build/fuzz/TARGET-*: run that again with
# `.venv/bin/bazel run //tests/fuzz:TARGET_driver -- $PWD/FILE`, and put it into tests/fuzz/corpus with its fix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly duration=${1:-60} bazel=.venv/bin/bazel seed=${SEED:-$(date +%s)}

# Loops without branches have no coverage to speak of: the kernels' objects are those of `make sanitize`.
build_fuzzers() {
  "$bazel" build --config=asan \
    --per_file_copt='-isa_.*,-wide\.cc@-fsanitize-coverage=trace-pc,-fsanitize-coverage=trace-cmp' \
    --linkopt=-Wl,--wrap=__sanitizer_cov_trace_pc --linkopt="$1" \
    //tests/fuzz:gradient_fuzzer //tests/fuzz:plan_fuzzer
}

"$bazel" build //tests/fuzz:gradient_driver //tests/fuzz:plan_driver
bazel-bin/tests/fuzz/gradient_driver --random 10000 "$seed"
bazel-bin/tests/fuzz/plan_driver --random 200000 "$seed"

libfuzzer=$(find /usr/lib/llvm-* -name "libclang_rt.fuzzer-$(uname -m).a" 2>/dev/null | sort -V | tail -n 1) || true
if [[ -z $libfuzzer ]]; then
  echo "fuzz: libFuzzer is missing; install it, on Debian and Ubuntu with: sudo apt-get install libclang-rt-dev" >&2
  exit 1
fi
build_fuzzers "$libfuzzer"
for target in plan gradient; do
  mkdir -p "build/fuzz/$target"
  bazel-bin/tests/fuzz/"$target"_fuzzer -max_total_time=$((duration / 2)) -max_len=128 -timeout=60 \
    -artifact_prefix="build/fuzz/$target-" "build/fuzz/$target" "tests/fuzz/corpus/$target"
done
