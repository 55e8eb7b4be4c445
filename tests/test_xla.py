"""Programs that XLA compiles: the engine as a custom call, XLA's own convolution as the fallback, gradients, training."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from programs import run_bare_program
from reference import DTYPES, MAX_RELATIVE_ERROR, UNIT_ROUNDOFF, Convolution, assert_within_contract
from tensorflow_conv_backprop import library
from test_contract import GEOMETRIES, PADS

FILTER_GRADIENT = "Conv2DBackpropFilterV2"
FORMATS = ("NHWC", "NCHW")

# The wheels of TensorFlow before 2.20 lack the headers of XLA's typed custom calls; there XLA's convolution does it all.
CALLS_ENGINE = hasattr(library.functions(), "wgrad_xla_call")
needs_engine = pytest.mark.skipif(not CALLS_ENGINE, reason="XLA cannot call the engine in this TensorFlow")

# Paddings and data formats that each geometry is compiled with.
VARIANTS = {
    "VALID NHWC": {"padding": "VALID"},
    "SAME NCHW": {"padding": "SAME", "data_format": "NCHW"},
    "EXPLICIT NHWC": {"padding": "EXPLICIT", "pads": PADS},
}


def configurations() -> dict[str, Convolution]:
    variants = {
        f"{geometry}, {name}": dataclasses.replace(conv, **variant)
        for geometry, conv in GEOMETRIES.items()
        for name, variant in VARIANTS.items()
    }
    return {name: conv for name, conv in variants.items() if conv.fits}


CONFIGURATIONS = configurations()
# Some of everything that a type could meet.
FOR_EACH_DTYPE = [
    "3x3, VALID NHWC",
    "3x3 stride 2 dilation 3, SAME NCHW",
    "height and width differ, EXPLICIT NHWC",
    "3 groups, stride 2, SAME NCHW",
    "depthwise, multiplier 3, VALID NHWC",
]


def compute(conv: Convolution, x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    # The filter's values must not matter.
    filter = tf.fill(conv.filter_shape, tf.constant(np.nan, x.dtype))
    return plugin.conv2d_backprop_filter_v2(x, filter, dy, **conv.attributes)


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True, autograph=False, **options)


def by_xla(conv: Convolution, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Computed by the convolution that is compiled where there is no custom call."""

    def function(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        with tf.compat.v1.get_default_graph()._kernel_label_map({FILTER_GRADIENT: "convolution"}):
            return compute(conv, x, dy)

    return compiled(function)(x, dy).numpy()


def runs() -> int:
    return sum(plugin.run_counts().values())


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    plugin.reset_run_counts()


@needs_engine
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in CONFIGURATIONS] + [(name, d) for name in FOR_EACH_DTYPE for d in DTYPES],
)
def test_engine_computes_the_same_bits_as_without_xla(name: str, dtype: str) -> None:
    conv = CONFIGURATIONS[name]
    x, dy = conv.data(dtype)
    dw = compiled(lambda x, dy: compute(conv, x, dy))(x, dy).numpy()
    assert runs() == 1
    assert_within_contract(conv, x, dy, dw, dtype)
    np.testing.assert_array_equal(dw, compute(conv, tf.constant(x), tf.constant(dy)))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in CONFIGURATIONS] + [(name, d) for name in FOR_EACH_DTYPE for d in DTYPES],
)
def test_fallback_is_right(name: str, dtype: str) -> None:
    conv = CONFIGURATIONS[name]
    x, dy = conv.data(dtype)
    dw = by_xla(conv, x, dy)
    assert runs() == 0
    assert_within_contract(conv, x, dy, dw, dtype)


@needs_engine
@pytest.mark.parametrize("data_format", FORMATS)
def test_operands_that_xla_would_lay_out_otherwise(data_format: str) -> None:
    """A transposition that feeds the call could be left to it as another layout of its operand."""
    conv = Convolution(batch=3, channels=5, data_format=data_format)
    x, dy = conv.data("float32")
    order = np.array([3, 1, 0, 2])

    def function(x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        dw = compute(conv, tf.transpose(x, np.argsort(order)), tf.transpose(dy, np.argsort(order)))
        return tf.transpose(dw, order)

    dw = compiled(function)(np.transpose(x, order), np.transpose(dy, order)).numpy()
    np.testing.assert_array_equal(dw, np.transpose(compute(conv, tf.constant(x), tf.constant(dy)), order))
    assert runs() == 2


@needs_engine
def test_batch_that_is_not_known_when_traced() -> None:
    conv = Convolution(strides=(2, 2), padding="SAME")
    function = compiled(
        lambda x, dy: compute(conv, x, dy),
        input_signature=[tf.TensorSpec([None, *shape[1:]]) for shape in (conv.input_shape, conv.output_shape)],
    )
    for batch in (1, 4, 0):
        sized = dataclasses.replace(conv, batch=batch)
        x, dy = sized.data("float32")
        assert_within_contract(sized, x, dy, function(x, dy).numpy(), "float32")
    assert function.experimental_get_tracing_count() == 1
    assert runs() == 2  # an empty batch is zeros without a run


def test_batch_of_which_xla_knows_a_bound_alone() -> None:
    conv = Convolution(batch=6)
    x, dy = conv.data("float32")
    keep = np.array([True, False, True, True, False, True])
    function = compiled(lambda x, dy, keep: compute(conv, tf.boolean_mask(x, keep), tf.boolean_mask(dy, keep)))
    dw = function(x, dy, keep).numpy()
    assert_within_contract(dataclasses.replace(conv, batch=4), x[keep], dy[keep], dw, "float32")
    assert runs() == CALLS_ENGINE


@pytest.mark.parametrize("data_format", FORMATS)
def test_gradients_for_a_batch_of_which_xla_knows_a_bound_alone(data_format: str) -> None:
    x, w = (tf.random.stateless_normal(shape, [1, 2]) for shape in ([4, 8, 8, 8], [3, 3, 4, 8]))
    x = x if data_format == "NHWC" else tf.transpose(x, [0, 3, 1, 2])

    def gradients(x: tf.Tensor, w: tf.Tensor, keep: tf.Tensor) -> list[tf.Tensor]:
        x = tf.boolean_mask(x, keep)
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            loss = tf.reduce_sum(tf.sin(plugin.conv2d(x, w, 2, "SAME", data_format=data_format)))
        return [tf.reduce_sum(dx_or_dw**2, axis=[0, 1]) for dx_or_dw in tape.gradient(loss, [x, w])]

    keep = tf.constant([True, True, False, True])
    for a, e in zip(compiled(gradients)(x, w, keep), gradients(x, w, keep), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("conv", [Convolution(batch=0), Convolution(channels=0, filters=0), Convolution(filters=0)])
def test_empty(conv: Convolution) -> None:
    conv = dataclasses.replace(conv, kernel=(2, 2))
    filter = tf.zeros([2, 2, max(1, conv.channels), conv.filters])
    x, dy = conv.data("float32")
    dw = compiled(lambda: plugin.conv2d_backprop_filter_v2(x, filter, dy, **conv.attributes))()
    np.testing.assert_array_equal(dw, np.zeros(filter.shape))


@needs_engine
def test_non_finite_values_stay_where_the_definition_puts_them() -> None:
    conv = Convolution(batch=1, image=(28, 28), channels=64, filters=64, padding="SAME")
    x, dy = conv.data("float32")
    x[0, 3, 4, 5] = np.inf
    x[0, 9, 8, 7] = np.nan
    dw = compiled(lambda x, dy: compute(conv, x, dy))(x, dy).numpy()
    assert np.isfinite(np.delete(dw, [5, 7], axis=2)).all()
    assert not np.isfinite(dw[:, :, [5, 7]]).any()


@needs_engine
@pytest.mark.parametrize("algorithm", ["direct", "reference"])
def test_algorithm_that_is_asked_for_runs(algorithm: str, auto_afterwards: None) -> None:
    conv = Convolution()
    function = compiled(lambda x, dy: compute(conv, x, dy))
    function(*conv.data("float32"))
    plugin.reset_run_counts()
    plugin.set_algorithm(algorithm)  # after the compilation
    function(*conv.data("float32"))
    assert {name: count for name, count in plugin.run_counts().items() if count} == {algorithm: 1}


@needs_engine
def test_algorithm_that_cannot_do_it_is_an_error(auto_afterwards: None) -> None:
    conv = Convolution(strides=(3, 3))
    plugin.set_algorithm("winograd")
    with pytest.raises(tf.errors.InvalidArgumentError, match="winograd"):
        compiled(lambda x, dy: compute(conv, x, dy))(*conv.data("float32"))


@needs_engine
def test_many_threads_at_once() -> None:
    """More callers than threads in the pool that all of them use."""
    conv = Convolution(batch=4, image=(20, 20), channels=32, filters=32, padding="SAME")
    x, dy = conv.data("float32")
    function = compiled(lambda x, dy: tf.stack([compute(conv, x * i, dy) for i in (1.0, 2.0, 3.0)]))
    expected = function(x, dy).numpy()
    with concurrent.futures.ThreadPoolExecutor(16) as callers:
        for dw in callers.map(lambda _: function(x, dy).numpy(), range(64)):
            np.testing.assert_array_equal(dw, expected)
    assert runs() == 65 * 3


@pytest.mark.parametrize(
    ("conv", "dtype"),
    [
        (Convolution(padding="SAME"), "float32"),
        (Convolution(padding="SAME", data_format="NCHW"), "float32"),
        (Convolution(channels=4, groups=2, strides=(2, 2), padding="SAME"), "float32"),
        (Convolution(dilations=(2, 1), padding="EXPLICIT", pads=PADS), "float32"),
        (Convolution(dilations=(2, 2), strides=(2, 1), padding="SAME", data_format="NCHW"), "float64"),
        (Convolution(channels=4, groups=4, padding="SAME"), "float16"),
        (Convolution(padding="SAME"), "bfloat16"),
    ],
    ids=str,
)
def test_gradients_of_the_op_compile(conv: Convolution, dtype: str) -> None:
    """Of first and second order, for all three tensors that the op and its gradient read."""
    x, dy = conv.data(dtype)
    direction = np.random.default_rng(1).standard_normal(conv.filter_shape).astype(x.dtype)

    def gradients(x: tf.Tensor, dy: tf.Tensor, direction: tf.Tensor) -> list[tf.Tensor]:
        tensors = [x, dy, direction]
        with tf.GradientTape() as outer:
            outer.watch(tensors)
            with tf.GradientTape() as inner:
                inner.watch(tensors[:2])
                product = tf.reduce_sum(compute(conv, x, dy) * direction)
            first = inner.gradient(product, tensors[:2])
            squares = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
        return [*first, *outer.gradient(squares, tensors)]

    expected = gradients(*(tf.constant(array) for array in (x, dy, direction)))
    # XLA may keep float32 where TensorFlow rounds between two ops.
    tolerance = 8 * UNIT_ROUNDOFF[dtype] if dtype in UNIT_ROUNDOFF else 64 * MAX_RELATIVE_ERROR[dtype]
    for got, wanted in zip(compiled(gradients)(x, dy, direction), expected, strict=True):
        got, wanted = (np.asarray(a, np.float64) for a in (got, wanted))
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


def trained(jit_compile: bool, policy: str = "float32") -> tuple[list[float], int]:
    """The losses of a small patched Keras model with three convolutions, and how often the engine ran."""
    layers = tf.keras.layers
    x = np.random.default_rng(0).standard_normal([16, 8, 8, 3]).astype(np.float32)
    y = (x.mean(axis=(1, 2, 3)) > 0).astype(np.float32)[:, np.newaxis]
    tf.keras.utils.set_random_seed(0)
    model = tf.keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", dtype=policy),
            layers.Conv2D(8, 3, groups=2, dilation_rate=2, padding="same", activation="relu", dtype=policy),
            layers.Conv2DTranspose(4, 3, strides=2, dtype=policy),
            layers.Flatten(dtype=policy),
            layers.Dense(1, dtype="float32"),
        ]
    )
    model.compile(optimizer=tf.keras.optimizers.SGD(0.01), loss="mse", jit_compile=jit_compile)
    plugin.reset_run_counts()
    with plugin.patched_tensorflow():
        losses = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"]
    return losses, runs()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_trains_as_without_xla(policy: str) -> None:
    losses, ran = trained(jit_compile=True, policy=policy)
    assert ran == (3 * 4 * 3 if CALLS_ENGINE else 0)  # convolutions, steps, epochs
    np.testing.assert_allclose(losses, trained(False, policy)[0], rtol=0.05 if policy == "mixed_bfloat16" else 1e-4)


def test_loaded_after_xla_has_compiled_something() -> None:
    out = run_bare_program("""
import tensorflow as tf
tf.function(lambda x: x + 1, jit_compile=True)(1.0)
import tensorflow_conv_backprop as plugin
tf.function(tf.conv2d_backprop_filter_v2, jit_compile=True)(
    tf.ones([1, 2, 3, 1]), tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], "VALID")
print(sum(plugin.run_counts().values()))
""")
    assert out == f"{int(CALLS_ENGINE)}\n"


def test_automatic_clustering() -> None:
    """XLA picks the ops that it compiles: this one is among them, and runs."""
    out = run_bare_program(
        """
import numpy as np, tensorflow as tf
import tensorflow_conv_backprop as plugin

@tf.function(autograph=False)
def function(x, dy):
    dw = tf.conv2d_backprop_filter_v2(tf.sin(x) + 1, tf.ones([3, 3, 4, 5]), tf.cos(dy) + 1, [1, 1, 1, 1], "SAME")
    return tf.sqrt(tf.abs(dw)) + 1

x, dy = tf.ones([2, 8, 8, 4]), tf.ones([2, 8, 8, 5])
options = tf.compat.v1.RunOptions(output_partition_graphs=True)
function(x, dy)
tf.config.run_functions_eagerly(True)
expected = function(x, dy)
tf.config.run_functions_eagerly(False)
tf.config.experimental.enable_tensor_float_32_execution(False)
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    a, b = tf.compat.v1.placeholder(tf.float32, x.shape), tf.compat.v1.placeholder(tf.float32, dy.shape)
    metadata = tf.compat.v1.RunMetadata()
    dw = session.run(function.python_function(a, b), {a: x.numpy(), b: dy.numpy()}, options, metadata)
np.testing.assert_allclose(dw, expected, rtol=1e-5)
nodes = [node.op for graph in metadata.partition_graphs for node in graph.node]
print(any(op in ("_XlaRun", "XlaLaunch") for op in nodes), "Conv2DBackpropFilterV2" in nodes)
""",
        TF_XLA_FLAGS="--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit --tf_xla_min_cluster_size=1",
    )
    assert out == "True False\n"


@pytest.mark.parametrize("library", ["absent", "cannot be opened"])
def test_package_without_the_xla_library(library: str, tmp_path: pathlib.Path) -> None:
    """As on a TensorFlow without the headers, or without XLA: everything but compilation works."""
    package = pathlib.Path(plugin.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("_conv_backprop_xla.so"))
    if library == "cannot be opened":
        (tmp_path / package.name / "_conv_backprop_xla.so").write_text("not a library")
    out = run_bare_program(
        """
import sys, warnings
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
with warnings.catch_warnings(record=True) as caught:
    import tensorflow_conv_backprop as plugin
print(["XLA cannot compile" in str(warning.message) for warning in caught])
assert plugin.__file__.startswith(sys.argv[1])
arguments = tf.ones([1, 2, 3, 1]), tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], "VALID"
print(tf.conv2d_backprop_filter_v2(*arguments).numpy().ravel().tolist())
try:
    tf.function(tf.conv2d_backprop_filter_v2, jit_compile=True)(*arguments)
except tf.errors.InvalidArgumentError as error:
    print("Conv2DBackpropFilterV2" in error.message)
""",
        str(tmp_path),
    )
    warned = [] if library == "absent" else [True]
    assert out == f"{warned}\n[2.0, 2.0, 2.0, 2.0]\nTrue\n"
