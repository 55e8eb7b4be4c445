#!/usr/bin/env bash
# Builds the source distribution and the wheel for .venv's TensorFlow: ./build_pip_pkg.sh [directory], by default dist.
set -euo pipefail
directory=$(realpath -m "${1:-dist}")
cd "$(dirname "${BASH_SOURCE[0]}")"

make --no-print-directory build
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
# Equal sources give equal bytes: neither permissions nor times come from this checkout. Zip knows nothing before 1980.
umask 022
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800}
.venv/bin/python -m build --sdist --no-isolation --outdir "$stage" . >/dev/null
CONV_BACKPROP_BUILT=$PWD/bazel-bin/python/tensorflow_conv_backprop .venv/bin/python -m pip wheel --quiet \
  --disable-pip-version-check --no-build-isolation --no-deps --no-cache-dir --wheel-dir "$stage" "$stage"/*.tar.gz
# Fails where a library needs more than what is named here and what every Linux has, and tags the wheel with the oldest
# C library that it runs with.
PATH=$PWD/.venv/bin:$PATH .venv/bin/python -m auditwheel repair --only-plat --wheel-dir "$directory" \
  --exclude libtensorflow_framework.so.2 --exclude libtensorflow_cc.so.2 "$stage"/*.whl
mv "$stage"/*.tar.gz "$directory"
ls -l "$directory"
