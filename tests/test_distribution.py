"""Patched training under TensorFlow's distribution strategies: the filters that one device trains, in any of them."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import distribution
import numpy as np
import pytest
import tensorflow_conv_backprop as plugin
from distribution import FILTERS, RATE, STEPS, TARGET, X

pytestmark = pytest.mark.timeout(300)
SCRIPT = pathlib.Path(distribution.__file__)
# A server that knows nothing of the package.
SERVER = """
import sys, tensorflow as tf
job, worker, ps, *libraries = sys.argv[1:]
for library in libraries:
    tf.load_op_library(library)
server = tf.distribute.Server({"worker": [worker], "ps": [ps]}, job_name=job, task_index=0)
print(server.target, flush=True)
server.join()
"""


def start(strategy: str, output: pathlib.Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, strategy, output],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    """How often the plugin ran in a process."""
    try:
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, err[-2000:]
    return int(out)


@pytest.fixture(scope="module")
def one_device() -> np.ndarray:
    with plugin.patched_tensorflow():
        return distribution.one_device()


def assert_same_but_for_rounding(filters: np.ndarray, expected: np.ndarray) -> None:
    """Fails unless two float32 trainings differ by no more than the roundings of their steps.

    On a convex loss with a small enough rate, steps bring two trainings no further apart, so that the roundings of all
    steps add up. An element of a gradient is an inner product of n terms, whose error is at most n unit round-offs times
    the norms of the two vectors; n counts the pixels and the terms of the model's own sums.
    """
    residual = 2 / TARGET.size * (distribution.model(X, FILTERS).numpy() - TARGET)  # no later one has a larger norm
    norms = [np.linalg.norm(a.reshape(-1, a.shape[-1]), axis=0).max() for a in (X, residual)]
    terms = TARGET[..., 0].size + FILTERS[..., 0].size
    step = np.finfo(np.float32).eps / 2 * (RATE * terms * norms[0] * norms[1] + np.abs(FILTERS).max())
    tolerance = 2 * STEPS * step
    assert np.abs(expected - FILTERS).max() > 1000 * tolerance  # the training itself is not lost in it
    np.testing.assert_allclose(filters, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("strategy", ["mirrored", "keras_mirrored", "parameter_server"])
def test_two_replicas_train_as_one_device(strategy: str, one_device: np.ndarray, tmp_path: pathlib.Path) -> None:
    runs = finish(start(strategy, tmp_path / "filters.npy"))
    assert runs == 2 * STEPS
    assert_same_but_for_rounding(np.load(tmp_path / "filters.npy"), one_device)


def test_two_processes_train_as_one_device(one_device: np.ndarray, tmp_path: pathlib.Path) -> None:
    cluster = {"worker": [distribution.free_address(), distribution.free_address()]}
    processes = [
        start(
            "multi_worker",
            tmp_path / f"{index}.npy",
            TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    assert [finish(process) for process in processes] == [STEPS, STEPS]
    first, second = (np.load(tmp_path / f"{index}.npy") for index in range(2))
    np.testing.assert_array_equal(first, second)
    assert_same_but_for_rounding(first, one_device)


def coordinate(libraries: list[str], output: pathlib.Path) -> tuple[int, str]:
    """Exit code and log of a coordinator whose worker and parameter server have loaded `libraries`."""
    addresses = {job: distribution.free_address() for job in ("worker", "ps")}
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER, job, *addresses.values(), *libraries],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for job in addresses
    ]
    try:
        for server in servers:
            assert server.stdout.readline()
        cluster = json.dumps({job: [address] for job, address in addresses.items()})
        coordinator = start("coordinator", output, CLUSTER=cluster)
        _, log = coordinator.communicate(timeout=120)
    finally:
        for server in servers:
            server.kill()
    return coordinator.returncode, log


def test_worker_needs_the_library_alone(one_device: np.ndarray, tmp_path: pathlib.Path) -> None:
    code, log = coordinate([plugin.library_path()], tmp_path / "filters.npy")
    assert code == 0, log[-2000:]
    assert_same_but_for_rounding(np.load(tmp_path / "filters.npy"), one_device)


def test_worker_without_it_says_what_to_load(tmp_path: pathlib.Path) -> None:
    code, log = coordinate([], tmp_path / "filters.npy")
    assert code == 1
    # TensorFlow's words; the name of the node is this package's.
    assert "No OpKernel was registered to support Op 'Conv2DBackpropFilterV2'" in log
    assert "tensorflow_conv_backprop/filter_gradient" in log
