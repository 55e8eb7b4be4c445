# The commands of this project. Each sets up what it needs; tools/setup.sh says which variables choose Python,
# TensorFlow and Bazel, third_party/cuda/cuda_configure.bzl which choose the CUDA toolkit: CUDA=0 builds without.
PYTHON_IN_VENV := .venv/bin/python
PACKAGE := python/tensorflow_conv_backprop

.PHONY: build demo test test-gpu wheel bench setup clean

build: setup
	.venv/bin/bazel build //$(PACKAGE)
	install -C -m 644 bazel-bin/$(PACKAGE)/_build_info.py bazel-bin/$(PACKAGE)/_conv_backprop_ops.so $(PACKAGE)

demo: build
	$(PYTHON_IN_VENV) examples/train_digits.py

test: build
	.venv/bin/bazel test //...
	$(PYTHON_IN_VENV) -m pytest

# PYTHON: one that has PyTorch with CUDA.
test-gpu:
	$(or $(PYTHON),python3) tests/gpu/run.py

wheel:
	./build_pip_pkg.sh

bench: build
	$(PYTHON_IN_VENV) benchmarks/run.py

setup:
	@tools/setup.sh

clean:
	rm -rf dist $(PACKAGE)/_build_info.py $(PACKAGE)/_conv_backprop_ops.so
	.venv/bin/bazel clean
