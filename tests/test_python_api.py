"""The public functions, apart from their numbers."""

from __future__ import annotations

import doctest
import gc
import importlib
import inspect
import pathlib
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from programs import run_bare_program
from reference import Convolution

FUNCTIONS = [
    plugin.conv2d_backprop_filter_v2,
    plugin.compat.v1.conv2d_backprop_filter_v2,
    tf.conv2d_backprop_filter_v2,
    tf.compat.v1.conv2d_backprop_filter_v2,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_four_sums_of_two(function) -> None:
    dw = function(tf.ones([1, 2, 3, 1]), tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], "VALID")
    np.testing.assert_array_equal(dw, np.full([2, 2, 1, 1], 2.0))


def test_signature_is_the_documented_one() -> None:
    def parameters(function):
        return [(p.name, p.default, p.kind) for p in inspect.signature(function).parameters.values()]

    assert parameters(plugin.conv2d_backprop_filter_v2) == parameters(tf.conv2d_backprop_filter_v2)
    assert parameters(plugin.conv2d) == parameters(tf.nn.conv2d)
    assert plugin.compat.v1.conv2d_backprop_filter_v2 is plugin.conv2d_backprop_filter_v2


@pytest.mark.parametrize("name", plugin.__all__)
def test_everything_public_is_documented(name: str) -> None:
    value = getattr(plugin, name)
    assert isinstance(value, str) or inspect.getdoc(value)


@pytest.mark.parametrize("module", ["ops", "convolution", "patch", "planning", "algorithm"])
def test_examples_in_docstrings(module: str) -> None:
    module = importlib.import_module(f"tensorflow_conv_backprop.{module}")
    tests = doctest.DocTestFinder(exclude_empty=True).find(module)
    assert any(test.examples for test in tests)
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0


def test_name_reaches_the_graph() -> None:
    with tf.Graph().as_default():
        x, w = tf.zeros([1, 3, 3, 1]), tf.zeros([2, 2, 1, 1])
        dw = plugin.conv2d_backprop_filter_v2(x, w, tf.zeros([1, 2, 2, 1]), [1, 1, 1, 1], "VALID", name="dw")
    assert dw.op.name == "dw"
    assert dw.op.type == "Conv2DBackpropFilterV2"
    assert dw.shape == w.shape


class Picture(tf.experimental.ExtensionType):
    pixels: tf.Tensor


@pytest.mark.parametrize("function", FUNCTIONS)
def test_type_based_dispatch(function) -> None:
    def of_picture(
        input: Picture,
        filter,
        out_backprop,
        strides,
        padding,
        use_cudnn_on_gpu=True,
        explicit_paddings=(),
        data_format="NHWC",
        dilations=(1, 1, 1, 1),
        name=None,
    ):
        return function(input.pixels, filter, out_backprop, strides, padding) + 1

    picture = Picture(tf.ones([1, 2, 3, 1]))
    tf.experimental.dispatch_for_api(function, {"input": Picture})(of_picture)
    try:
        dw = function(picture, tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], "VALID")
    finally:
        tf.experimental.unregister_dispatch_for(of_picture)
    np.testing.assert_array_equal(dw, np.full([2, 2, 1, 1], 3.0))


def test_symbolic_keras_inputs_inside_a_layer() -> None:
    class FilterGradient(tf.keras.layers.Layer):
        def call(self, x, dy):
            return plugin.conv2d_backprop_filter_v2(x, tf.zeros([2, 2, 1, 1], x.dtype), dy, [1, 1, 1, 1], "VALID")

    x, dy = tf.keras.Input([2, 3, 1]), tf.keras.Input([1, 2, 1])
    model = tf.keras.Model([x, dy], FilterGradient()(x, dy))
    dw = model([tf.ones([5, 2, 3, 1]), tf.ones([5, 1, 2, 1])])
    np.testing.assert_array_equal(dw, np.full([2, 2, 1, 1], 10.0))


def test_library_path_is_inside_the_package() -> None:
    assert pathlib.Path(plugin.library_path()).parent == pathlib.Path(plugin.__file__).parent


def test_algorithm_choice(auto_afterwards) -> None:
    assert plugin.get_algorithm() == "auto"
    plugin.set_algorithm("reference")
    assert plugin.get_algorithm() == "reference"
    with pytest.raises(ValueError, match="'fastest'"):
        plugin.set_algorithm("fastest")
    with pytest.raises(ValueError, match="got None"):
        plugin.set_algorithm(None)
    assert plugin.get_algorithm() == "reference"


@pytest.mark.parametrize(
    ("name", "planned"),
    [
        ("reference", "reference"),
        ("fast", "TF_CONV_BACKPROP_ALGORITHM must be one of auto, direct, winograd, depthwise, reference, got fast"),
    ],
)
def test_algorithm_from_the_environment(name: str, planned: str) -> None:
    program = """
import tensorflow_conv_backprop as plugin
print(plugin.get_algorithm())
try:
    print(plugin.plan([1, 4, 4, 2], [3, 3, 2, 1], [1, 1, 1, 1], "SAME").algorithm)
except ValueError as error:
    print(error)
"""
    assert run_bare_program(program, TF_CONV_BACKPROP_ALGORITHM=name).splitlines() == [name, planned]


def test_run_counts(auto_afterwards) -> None:
    conv = Convolution()
    x, dy = conv.data("float32")
    plugin.set_algorithm("reference")
    plugin.reset_run_counts()
    for _ in range(3):
        plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape), dy, **conv.attributes)
    assert {name: count for name, count in plugin.run_counts().items() if count} == {"reference": 3}


@pytest.mark.parametrize(
    "conv",
    [
        Convolution(batch=8, image=(28, 28), channels=64, filters=64, padding="SAME"),
        Convolution(batch=2, image=(9, 9), channels=6, filters=4, groups=2, data_format="NCHW"),
        Convolution(padding="EXPLICIT", pads=((1, 2), (0, 3)), dilations=(2, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_plan_says_what_then_runs(conv: Convolution, dtype: str) -> None:
    plan = plugin.plan(conv.input_shape, conv.filter_shape, dtype=dtype, **conv.attributes)
    x, dy = conv.data(dtype)
    with tf.device("/CPU:0"):
        plugin.reset_run_counts()
        plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape, dtype), dy, **conv.attributes)
    assert plugin.run_counts()[plan.algorithm] == 1
    assert plan.reason
    assert str(plan).startswith(f"{plan.algorithm} ({plan.isa}): {plan.reason}")


def test_plan_for_one_algorithm() -> None:
    plan = plugin.plan([2, 9, 9, 3], [3, 3, 3, 4], [1, 1, 1, 1], "SAME", algorithm="reference")
    assert plan.algorithm == "reference"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": [2, 9, 9]}, r"input_shape must have 4 elements, got \[2, 9, 9\]"),
        ({"strides": [1, 1]}, r"strides must have 4 elements, got \[1, 1\]"),
        ({"strides": [1, 0, 1, 1]}, "strides"),
        ({"strides": [1, 2**64 + 1, 1, 1]}, "strides must be 64-bit integers, got"),
        ({"padding": "FULL"}, "padding must be one of VALID, SAME, EXPLICIT, got 'FULL'"),
        ({"data_format": "CHWN"}, "data_format must be one of NHWC, NCHW, got 'CHWN'"),
        ({"dtype": "int32"}, "dtype must be one of .*, got 'int32'"),
        ({"filter_shape": [3, 3, 2, 4]}, "2"),
        ({"algorithm": "fastest"}, "algorithm must be one of auto, .*, got 'fastest'"),
        ({"algorithm": 3}, "algorithm must be one of auto, .*, got 3"),
        ({"algorithm": np.array(["auto", "direct"])}, "algorithm must be one of auto, .*, got array"),
        ({"padding": np.zeros([4, 2])}, "padding must be one of VALID, SAME, EXPLICIT, got array"),
    ],
)
def test_plan_rejects(change, message: str) -> None:
    arguments = {"input_shape": [2, 9, 9, 3], "filter_shape": [3, 3, 3, 4], "strides": [1, 1, 1, 1], "padding": "SAME"}
    with pytest.raises(ValueError, match=message):
        plugin.plan(**{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": 1}, "strides must be a sequence of integers, got 1"),
        ({"explicit_paddings": 3}, "explicit_paddings must be a sequence of integers, got 3"),
        ({"dilations": [1, 1.5, 1, 1]}, r"dilations must be a sequence of integers, got \[1, 1.5, 1, 1\]"),
    ],
)
def test_plan_rejects_what_is_no_integers(change, message: str) -> None:
    arguments = {"input_shape": [2, 9, 9, 3], "filter_shape": [3, 3, 3, 4], "strides": [1, 1, 1, 1], "padding": "SAME"}
    with pytest.raises(TypeError, match=message):
        plugin.plan(**{**arguments, **change})


@pytest.mark.parametrize("name", ["strides", "explicit_paddings", "dilations"])
def test_rejects_integers_of_more_than_64_bits(name: str) -> None:
    x = tf.zeros([1, 2, 2, 1])
    arguments = {"strides": [1, 1, 1, 1], "padding": "VALID"} | {name: [1, 2**63, 1, 1]}
    with pytest.raises(ValueError, match=rf"{name} must be 64-bit integers, got \[1, 9223372036854775808, 1, 1\]"):
        plugin.conv2d_backprop_filter_v2(x, tf.zeros([1, 1, 1, 1]), x, **arguments)


def test_plan_takes_arrays() -> None:
    shapes = np.array([2, 9, 9, 3]), np.array([3, 3, 3, 4])
    pads = np.array([0, 0, 1, 2, 0, 3, 0, 0])
    planned = plugin.plan(*shapes, np.ones(4, int), "EXPLICIT", explicit_paddings=pads)
    assert planned == plugin.plan(*map(list, shapes), [1] * 4, "EXPLICIT", explicit_paddings=list(pads))


@pytest.mark.parametrize(
    "arguments",
    [
        {"strides": 1, "padding": "SAME"},
        {"strides": None, "padding": "SAME"},
        {"strides": [2], "padding": "VALID"},
        {"strides": np.array([2, 1]), "padding": "VALID"},
        {"strides": np.int64(2), "padding": "VALID"},
        {"strides": (2, 3), "padding": "SAME"},
        {"strides": [1, 2, 1, 1], "padding": [[0, 0], [1, 2], [0, 3], [0, 0]]},
        {"strides": 1, "padding": "VALID", "dilations": 2},
        {"strides": 1, "padding": "VALID", "dilations": [1, 2]},
        {"strides": 1, "padding": "VALID", "data_format": None},
    ],
)
def test_conv2d_takes_what_tf_nn_conv2d_takes(arguments) -> None:
    generator = np.random.default_rng(0)
    x = tf.constant(generator.standard_normal([2, 3, 7, 8, 4]), tf.float32)
    w = tf.constant(generator.standard_normal([3, 2, 4, 5]), tf.float32)
    np.testing.assert_array_equal(plugin.conv2d(x[0], w, **arguments), tf.nn.conv2d(x[0], w, **arguments))
    np.testing.assert_array_equal(plugin.conv2d(x, w, **arguments), tf.nn.conv2d(x, w, **arguments))


@pytest.mark.parametrize("to_filters", [tf.Variable, tf.constant, lambda w: w])
@pytest.mark.parametrize("to_images", [tf.constant, lambda x: x, lambda x: x.astype("float64")])
def test_conv2d_takes_arrays(to_images: Callable, to_filters: Callable) -> None:
    generator = np.random.default_rng(0)
    x, w = (generator.standard_normal(shape).astype("float32") for shape in ([1, 4, 4, 2], [3, 3, 2, 1]))
    images, filters = to_images(x), to_filters(w)
    expected = tf.nn.conv2d(images, filters, 1, "SAME")
    actual = plugin.conv2d(images, filters, 1, "SAME")
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_conv2d_in_nchw() -> None:
    generator = np.random.default_rng(0)
    x, w = generator.standard_normal([2, 7, 8, 4]), generator.standard_normal([3, 2, 2, 6])
    explicit = [[0, 0], [1, 2], [0, 3], [0, 0]]
    expected = plugin.conv2d(x, w, [2, 1], explicit, dilations=[1, 2])
    order = [explicit[i] for i in (0, 3, 1, 2)]
    actual = plugin.conv2d(tf.transpose(x, [0, 3, 1, 2]), w, [2, 1], order, data_format="NCHW", dilations=[1, 2])
    np.testing.assert_allclose(tf.transpose(actual, [0, 2, 3, 1]), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": [1, 1, 1], "padding": "SAME"}, r"strides must be 1, 2 or 4 integers, got \[1, 1, 1\]"),
        ({"strides": 1, "padding": "SAME", "dilations": []}, "dilations must be 1, 2 or 4 integers"),
        ({"strides": 1, "padding": "EXPLICIT"}, "padding must be 'SAME', 'VALID' or four pairs of integers"),
        ({"strides": 1, "padding": 1}, "padding must be 'SAME', 'VALID' or four pairs of integers, got 1"),
        ({"strides": 1, "padding": [1, 1, 1, 1]}, "padding must be 'SAME', 'VALID' or four pairs of integers"),
        ({"strides": 1, "padding": [[0, 0], [1, 1]]}, "padding must be 'SAME', 'VALID' or four pairs of integers"),
        ({"strides": 1, "padding": "SAME", "data_format": "HWCN"}, "data_format must be 'NHWC' or 'NCHW', got 'HWCN'"),
        ({"strides": 0, "padding": "SAME"}, r"strides must be positive and below 2\^31, got 0"),
        ({"strides": 1, "padding": "SAME", "dilations": 2**70}, r"dilations must be positive and below 2\^31, got \d+"),
        ({"strides": [2, 1, 1, 1], "padding": "SAME"}, r"strides must be 1 for batch and channels, got \[2, 1, 1, 1\]"),
        (
            {"strides": [1, 2, 1, 1], "padding": "SAME", "data_format": "NCHW"},
            "1 for batch and channels, got .* in NCHW",
        ),
    ],
)
def test_conv2d_rejects(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plugin.conv2d(tf.zeros([1, 4, 4, 1]), tf.zeros([2, 2, 1, 1]), **arguments)


@pytest.mark.parametrize(
    ("strides", "named"),
    [(1.5, r"\[1.5\]"), ([1, [1, 2]], r"\[1, \[1, 2\]\]"), ("ab", r"\['a', 'b'\]")],
)
def test_conv2d_rejects_what_is_no_integers(strides, named: str) -> None:
    with pytest.raises(TypeError, match=f"strides must be a sequence of integers, got {named}"):
        plugin.conv2d(tf.zeros([1, 4, 4, 1]), tf.zeros([2, 2, 1, 1]), strides=strides, padding="SAME")


def test_traced_conv2d_lets_go_of_its_graph() -> None:
    def traced() -> weakref.ref:
        step = tf.function(lambda x: plugin.conv2d(x, tf.ones([2, 2, 1, 1]), 1, "SAME", dilations=2))
        return weakref.ref(step.get_concrete_function(tf.TensorSpec([1, 4, 4, 1])).graph)

    graph = traced()
    gc.collect()
    assert graph() is None


def test_flops_in_tensorflows_profiler() -> None:
    """As many as TensorFlow counts for its own op."""
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = []
    for op, of_filter in (
        (tf.raw_ops.Conv2DBackpropFilter, "filter_sizes"),
        (tf.raw_ops.Conv2DBackpropFilterV2, "filter"),
    ):
        with tf.Graph().as_default() as graph:
            filter = [3, 2, 3, 5] if of_filter == "filter_sizes" else tf.ones([3, 2, 3, 5])
            x, dy = tf.ones([2, 8, 9, 3]), tf.ones([2, 8, 9, 5])
            op(input=x, out_backprop=dy, strides=[1, 1, 1, 1], padding="SAME", **{of_filter: filter})
            counted.append(tf.compat.v1.profiler.profile(graph, options=options).total_float_ops)
    assert counted[0] == counted[1] == 2 * 2 * 8 * 9 * 5 * 3 * 2 * 3
