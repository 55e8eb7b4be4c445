#!/usr/bin/env bash
# Creates .venv with TensorFlow and the test tools, and finds Bazel (.venv/bin/bazel). Running it again does only what
# has changed. These variables choose:
#   PYTHON      the interpreter of .venv, 3.10 to 3.13; by default the one .venv has, or else the first found
#   TENSORFLOW  the TensorFlow to build against, as pip names it, such as tensorflow-cpu==2.21.0
#   BAZEL       the Bazel to use
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# One at a time: `make -j` runs this for each target.
exec 9<tools/setup.sh
flock 9

readonly BAZELISK_VERSION=1.28.1
readonly TENSORFLOW_VERSION=2.21.0

say() { echo "setup: $*" >&2; }
die() {
  say "$*"
  exit 1
}

# Installs a Debian package where that is possible without asking, or says how to.
require_package() {
  local package=$1 purpose=$2
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    die "$purpose is missing; install it, on Debian and Ubuntu with: sudo apt-get install $package"
  fi
  say "installing $package with apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$package" >/dev/null || die "apt-get could not install $package"
}

python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
supported() { [[ $(python_version "$1") =~ ^3\.1[0-3]$ ]]; }

choose_python() {
  if [[ -n ${PYTHON:-} ]]; then
    supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10 to 3.13"
    echo "$PYTHON"
    return
  fi
  local candidate
  for candidate in .venv/bin/python python3 python3.13 python3.12 python3.11 python3.10; do
    if supported "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  die "no Python 3.10 to 3.13 found; install one, on Debian and Ubuntu with: sudo apt-get install python3 python3-venv"
}

default_tensorflow() {
  if nvidia-smi -L >/dev/null 2>&1; then
    echo "tensorflow[and-cuda]==$TENSORFLOW_VERSION"
  elif [[ $(uname -m) == x86_64 ]]; then
    echo "tensorflow-cpu==$TENSORFLOW_VERSION"
  else
    echo "tensorflow==$TENSORFLOW_VERSION"  # its wheel for other processors is the CPU one
  fi
}

make_venv() {
  if [[ -x .venv/bin/python && $(python_version .venv/bin/python) == "$(python_version "$python")" ]]; then return; fi
  "$python" -c 'import ensurepip' 2>/dev/null || require_package "python$(python_version "$python")-venv" "Python's venv"
  say "creating .venv with Python $(python_version "$python")"
  "$python" -m venv --clear .venv
}

install_python_packages() {
  say "installing $tensorflow and the test tools into .venv"
  # Both have the same files, which neither removes when the other one is installed over it.
  local package
  for package in tensorflow tensorflow-cpu; do
    [[ ${tensorflow%%[^a-z-]*} == "$package" ]] || .venv/bin/python -m pip uninstall --quiet --yes "$package" 2>/dev/null
  done
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "$tensorflow" -r tools/requirements.txt
  # The package is imported from python/, so that edits take effect at once.
  echo "$PWD/python" >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/in_tree.pth"
}

can_download_bazel() {
  timeout 10 .venv/bin/python - <<'END' 2>/dev/null
import urllib.request
url = "https://releases.bazel.build/4.2.3/release/bazel-4.2.3-linux-x86_64"
urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5)
END
}

choose_bazel() {
  tools/find_bazel.sh 2>/dev/null && return
  [[ -z ${BAZEL:-} ]] || die "BAZEL=$BAZEL is not an executable"
  if command -v npm >/dev/null && can_download_bazel; then
    say "installing Bazelisk with npm"
    npm install --silent --no-audit --no-fund --prefix .venv/bazelisk "@bazel/bazelisk@$BAZELISK_VERSION" >&2
    tools/find_bazel.sh 2>/dev/null && return
  fi
  require_package bazel-bootstrap "Bazel 4"
  tools/find_bazel.sh
}

command -v g++ >/dev/null || require_package g++ "a C++ compiler"
python=$(choose_python)
tensorflow=${TENSORFLOW:-$(default_tensorflow)}

stamp=.venv/.setup
compiler=$(g++ -dumpversion)
key="$(python_version "$python") $tensorflow ${BAZEL:-} $compiler $PWD $(cat tools/setup.sh tools/requirements.txt | sha256sum)"
if [[ -x .venv/bin/bazel && -f $stamp && $(<"$stamp") == "$key" ]]; then exit; fi

make_venv
install_python_packages
bazel=$(choose_bazel)
say "using Bazel at $bazel"
ln -sf "$bazel" .venv/bin/bazel
cat >.bazelrc.local <<END
build "--repo_env=PYTHON_BIN_PATH=$PWD/.venv/bin/python"
build --repo_env=TENSORFLOW=$tensorflow
END
# Warnings are errors with the compiler that the code is tested with; others may warn of more.
[[ $compiler == 12* ]] || echo "build --copt=-Wno-error" >>.bazelrc.local
echo "$key" >"$stamp"
