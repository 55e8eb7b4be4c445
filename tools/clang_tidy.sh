#!/usr/bin/env bash
# Runs clang-tidy over the CPU engine, less the kernels: those are written in GCC's vector extension, which clang cannot
# read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Of the "warnings generated" those in the system's headers are not shown, and those in ours are errors.
git ls-files 'tf_ops/wgrad/*.cc' | grep -vE '/cuda/|/isa_' |
  xargs -I{} --max-procs "$(nproc)" .venv/bin/clang-tidy --quiet {} -- -std=c++17 -I . \
    2> >(grep -v 'warnings generated' >&2)
