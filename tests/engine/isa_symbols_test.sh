#!/usr/bin/env bash
# Of an inline function that several files define, the linker keeps one copy for all of them. Were it the one compiled
# for AVX-512, every other processor would die of an illegal instruction, so these objects may define none.
set -euo pipefail
(($# > 0)) || { echo "no objects to look at"; exit 1; }
for library in "$@"; do
  nm --demangle --defined-only "$library" >"$TEST_TMPDIR/symbols"
  if grep -E '^[0-9a-f]+ [uVW] ' "$TEST_TMPDIR/symbols"; then
    echo "$library defines the symbols above for others too; give them internal linkage"
    exit 1
  fi
done
