#!/usr/bin/env bash
# Builds the wheel: ./build_pip_pkg.sh [directory], by default dist.
set -euo pipefail
directory=$(realpath -m "${1:-dist}")
cd "$(dirname "${BASH_SOURCE[0]}")"

make --no-print-directory build
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp -r LICENSE README.md pyproject.toml setup.py python "$stage"
# Equal sources give equal bytes: neither permissions nor times come from this checkout. Zip knows nothing before 1980.
chmod -R u=rwX,go=rX "$stage"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-315532800} .venv/bin/python -m pip wheel --quiet --disable-pip-version-check \
  --no-build-isolation --no-deps --wheel-dir "$directory" "$stage"
ls -l "$directory"/*.whl
