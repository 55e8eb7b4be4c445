#!/usr/bin/env bash
# Prints the path of a Bazel 4: $BAZEL, or the first one found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Debian's build calls its version "no_version". Bazelisk downloads what .bazelversion names.
is_bazel() { [[ $(timeout 120 "$1" --version 2>/dev/null) =~ ^bazel\ (4\.|no_version) ]]; }

if [[ -n ${BAZEL:-} ]]; then
  command -v "$BAZEL" && exit
  echo "find_bazel: BAZEL=$BAZEL is not an executable" >&2
  exit 1
fi
for candidate in bazel bazelisk bazel-4 .venv/bazelisk/node_modules/.bin/bazelisk; do
  if is_bazel "$candidate"; then
    realpath -s "$(command -v "$candidate")"
    exit
  fi
done
echo "find_bazel: no Bazel 4 found; install Bazelisk (npm install -g @bazel/bazelisk), on Debian and Ubuntu bazel-bootstrap, or set BAZEL" >&2
exit 1
