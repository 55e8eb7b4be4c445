# The commands of this project. Each sets up what it needs; tools/setup.sh says which variables choose Python,
# TensorFlow and Bazel, third_party/cuda/cuda_configure.bzl which choose the CUDA toolkit: CUDA=0 builds without.
PYTHON_IN_VENV := .venv/bin/python
INSTALL := $(PYTHON_IN_VENV) -m pip install --quiet --disable-pip-version-check
PACKAGE := python/tensorflow_conv_backprop

.PHONY: build demo test sanitize fuzz test-aarch64 test-gpu wheel matrix bench bench-training lint format lint-tools docs setup clean

build: setup
	.venv/bin/bazel build //$(PACKAGE)
	install -C -m 644 bazel-bin/$(PACKAGE)/_build_info.py bazel-bin/$(PACKAGE)/_conv_backprop_*.so $(PACKAGE)

demo: build
	$(PYTHON_IN_VENV) examples/train_digits.py

test: build
	.venv/bin/bazel test //...
	$(PYTHON_IN_VENV) -m pytest

ENGINE_TESTS := //tests/engine:cpu_tests //tests/fuzz:tests

# With AddressSanitizer and UndefinedBehaviorSanitizer; with ThreadSanitizer those that have threads.
sanitize: setup
	.venv/bin/bazel test --config=asan $(ENGINE_TESTS)
	.venv/bin/bazel test --config=tsan //tests/engine:cpu_tests

# SECONDS: how long, after 10,000 random problems.
fuzz: setup
	tools/fuzz.sh $(SECONDS)

# Needs g++-aarch64-linux-gnu and qemu-user-static.
test-aarch64: setup
	.venv/bin/bazel test --config=aarch64 --repo_env=CC=$(CURDIR)/tools/aarch64/gcc $(ENGINE_TESTS)

# PYTHON: one that has PyTorch with CUDA.
test-gpu:
	$(or $(PYTHON),python3) tests/gpu/run.py

wheel:
	./build_pip_pkg.sh

# Every TensorFlow that is supported; MATRIX="2.16 2.20" for some, MATRIX=--all with every Python.
matrix: setup
	$(PYTHON_IN_VENV) tools/matrix.py $(MATRIX)

bench: build
	$(PYTHON_IN_VENV) benchmarks/run.py $(ARGS)

bench-training: build
	$(PYTHON_IN_VENV) benchmarks/training.py $(ARGS)

CPP_SOURCES = git ls-files '*.c' '*.cc' '*.h' '*.inc'
BAZEL_FILES = git ls-files '*BUILD' '*.bzl' WORKSPACE
BUILDIFIER = .venv/bin/buildifier -lint=warn

lint: lint-tools
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(CPP_SOURCES) | xargs .venv/bin/clang-format --dry-run -Werror
	$(BAZEL_FILES) | xargs $(BUILDIFIER) -mode=check
	tools/clang_tidy.sh

format: lint-tools
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	$(CPP_SOURCES) | xargs .venv/bin/clang-format -i
	$(BAZEL_FILES) | xargs $(BUILDIFIER) -mode=fix

lint-tools: setup .venv/bin/buildifier
	$(INSTALL) -r tools/lint-requirements.txt

.venv/bin/buildifier: | setup
	npm install --silent --no-audit --no-fund --prefix .venv/buildifier @bazel/buildifier@6.4.0
	ln -sf ../buildifier/node_modules/.bin/buildifier $@

docs: setup
	$(INSTALL) -r tools/docs-requirements.txt
	.venv/bin/mkdocs build --strict

setup:
	@tools/setup.sh

clean:
	rm -rf build dist site $(PACKAGE)/_build_info.py $(PACKAGE)/_conv_backprop_*.so
	[ ! -e .venv/bin/bazel ] || .venv/bin/bazel clean
