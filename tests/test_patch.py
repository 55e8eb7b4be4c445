"""patch_tensorflow: the convolutions it reaches, what it computes, and that it leaves no trace."""

from __future__ import annotations

import threading
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from programs import run_bare_program
from tensorflow.python.framework import ops
from tensorflow_conv_backprop import _build_info, adjoints

PATCHED_OPS = ("Conv2D", "Conv2DBackpropInput")


def registered() -> dict[str, Any]:
    return {op: ops.gradient_registry.lookup(op) for op in PATCHED_OPS}


STOCK = registered()


@pytest.fixture(autouse=True)
def leaves_no_trace() -> Iterator[None]:
    assert registered() == STOCK
    yield
    plugin.unpatch_tensorflow()
    assert registered() == STOCK


def runs() -> int:
    return sum(plugin.run_counts().values())


def normal(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


X = normal(2, 8, 9, 4)
CONVOLUTIONS: dict[str, tuple[Callable[[tf.Tensor, tf.Tensor], tf.Tensor], tuple[int, ...]]] = {
    "tf.nn.conv2d": (lambda x, w: tf.nn.conv2d(x, w, 2, "SAME"), (3, 3, 4, 5)),
    "explicit padding": (lambda x, w: tf.nn.conv2d(x, w, 1, [[0, 0], [1, 2], [0, 3], [0, 0]]), (3, 3, 4, 5)),
    "tf.nn.convolution": (lambda x, w: tf.nn.convolution(x, w, padding="VALID"), (2, 3, 4, 5)),
    "tf.nn.conv2d_transpose": (lambda x, w: tf.nn.conv2d_transpose(x, w, [2, 16, 18, 5], 2), (3, 3, 5, 4)),
    "tf.compat.v1.nn.conv2d": (lambda x, w: tf.compat.v1.nn.conv2d(x, w, [1, 1, 1, 1], "SAME"), (1, 1, 4, 5)),
}


def gradients(convolution: Callable[..., tf.Tensor], x: tf.Tensor, w: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch([x, w])
        loss = tf.reduce_sum(tf.sin(convolution(x, w)))
    return tape.gradient(loss, [x, w])


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "tf.function"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_functions(name: str, traced: bool) -> None:
    convolution, filter_shape = CONVOLUTIONS[name]
    w = normal(*filter_shape, seed=1)
    expected = gradients(convolution, X, w)
    before = runs()
    with plugin.patched_tensorflow():
        actual = (tf.function(gradients) if traced else gradients)(convolution, X, w)
    assert runs() == before + 1
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        tf.keras.layers.Conv2D(5, 3, padding="same"),
        tf.keras.layers.Conv2D(5, 3, strides=2, activation="relu"),
        tf.keras.layers.SeparableConv2D(5, 3),
        tf.keras.layers.Conv2DTranspose(5, 3, strides=2),
        tf.keras.layers.Conv1D(5, 3),
    ],
    ids=["Conv2D same", "Conv2D strided", "SeparableConv2D", "Conv2DTranspose", "Conv1D"],
)
def test_keras_layers(layer: tf.keras.layers.Layer) -> None:
    x = X[:, 0] if isinstance(layer, tf.keras.layers.Conv1D) else X
    layer.build(x.shape)

    def of_layer() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    expected = of_layer()
    before = runs()
    with plugin.patched_tensorflow():
        actual = of_layer()
    assert runs() == before + 1
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5 * np.abs(e).max())


def test_keras_fit() -> None:
    def fitted() -> list[np.ndarray]:
        tf.keras.utils.set_random_seed(0)
        model = tf.keras.Sequential(
            [tf.keras.layers.Conv2D(4, 3, activation="relu"), tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)]
        )
        model.compile(optimizer=tf.keras.optimizers.SGD(1e-3), loss="mse", jit_compile=False)
        model.fit(normal(16, 8, 9, 4), normal(16, 1), batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    expected = fitted()
    before = runs()
    with plugin.patched_tensorflow():
        actual = fitted()
    assert runs() == before + 8
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    "filter_shape", [(3, 3, 4, 6), (3, 3, 2, 6), (3, 3, 1, 4)], ids=["dense", "grouped", "depthwise"]
)
def test_dilated_and_grouped_convolutions_train(filter_shape: tuple[int, ...], dtype: str) -> None:
    """Stock TensorFlow on CPU runs them forward and has no gradient for them, float32 with oneDNN excepted."""
    generator = np.random.default_rng(0)
    x, w, dy = (
        generator.integers(-2, 3, shape).astype(np.float64)
        for shape in (X.shape, filter_shape, (2, 8, 9, filter_shape[3]))
    )

    def exact(x: tf.Tensor, w: tf.Tensor, dy: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, 1, "SAME", dilations=2)
        return tape.gradient(y, [x, w], output_gradients=dy)

    def one_group_at_a_time() -> list[np.ndarray]:
        """In float64, tap by tap."""
        groups = 4 // filter_shape[2]
        dx, dw = np.zeros(x.shape), np.zeros(w.shape)
        padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
        dpadded = np.zeros_like(padded)
        for kh, kw in np.ndindex(3, 3):
            window = np.s_[:, 2 * kh : 2 * kh + 8, 2 * kw : 2 * kw + 9]
            for g in range(groups):
                c = np.s_[..., g * filter_shape[2] : (g + 1) * filter_shape[2]]
                f = np.s_[..., g * filter_shape[3] // groups : (g + 1) * filter_shape[3] // groups]
                dw[kh, kw][f] = np.einsum("nhwc,nhwf->cf", padded[window][c], dy[f])
                dpadded[window][c] += np.einsum("nhwf,cf->nhwc", dy[f], w[kh, kw][f])
        dx[:] = dpadded[:, 2:-2, 2:-2]
        return [dx, dw]

    with plugin.patched_tensorflow():
        actual = exact(*(tf.constant(a, dtype) for a in (x, w, dy)))
    for a, e in zip(actual, one_group_at_a_time(), strict=True):
        np.testing.assert_allclose(a.numpy().astype(np.float64), e, rtol=2**-8 if dtype == "bfloat16" else 0)


def test_second_order() -> None:
    w = normal(3, 3, 4, 5, seed=1)

    def norm_of_gradient() -> list[tf.Tensor]:
        def squared(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
            return tf.add_n([tf.reduce_sum(g**2) for g in gradients(CONVOLUTIONS["tf.nn.conv2d"][0], x, w)])

        return gradients(squared, X, w)

    expected = norm_of_gradient()
    with plugin.patched_tensorflow():
        actual = norm_of_gradient()
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4 * np.abs(e).max())


def test_conv2d_needs_no_patch() -> None:
    w = normal(3, 3, 4, 5, seed=1)
    expected = gradients(lambda x, w: tf.nn.conv2d(x, w, 2, "SAME"), X, w)
    before = runs()
    actual = gradients(lambda x, w: plugin.conv2d(x, w, 2, "SAME"), X, w)
    assert runs() == before + 1
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def test_traced_functions_keep_their_gradient() -> None:
    convolution, filter_shape = CONVOLUTIONS["tf.nn.conv2d"]
    w = normal(*filter_shape)
    stock, patched = (tf.function(lambda x, w: gradients(convolution, x, w)) for _ in range(2))
    stock(X, w)
    with plugin.patched_tensorflow():
        patched(X, w)
        before = runs()
        stock(X, w)
        assert runs() == before
    patched(X, w)
    assert runs() == before + 1


def test_patch_twice_unpatch_once() -> None:
    plugin.patch_tensorflow()
    patched = registered()
    assert all(patched[op] is not STOCK[op] for op in PATCHED_OPS)
    plugin.patch_tensorflow()
    assert registered() == patched
    plugin.unpatch_tensorflow()
    assert registered() == STOCK
    plugin.unpatch_tensorflow()
    assert registered() == STOCK


def test_nested_contexts() -> None:
    with plugin.patched_tensorflow():
        patched = registered()
        with pytest.raises(KeyError), plugin.patched_tensorflow():
            raise KeyError
        assert registered() == patched
    assert registered() == STOCK


def test_context_inside_of_patch() -> None:
    plugin.patch_tensorflow()
    with plugin.patched_tensorflow():
        pass
    assert registered() != STOCK


def test_unpatch_inside_of_context_waits_for_its_end() -> None:
    with plugin.patched_tensorflow():
        plugin.patch_tensorflow()
        plugin.unpatch_tensorflow()
        assert registered() != STOCK
    assert registered() == STOCK


def test_contexts_of_many_threads() -> None:
    barrier = threading.Barrier(8)
    wrong: list[dict[str, Any]] = []

    def enter_and_leave() -> None:
        barrier.wait()
        for _ in range(200):
            with plugin.patched_tensorflow():
                now = registered()
                wrong.extend([now] if any(now[op] is STOCK[op] for op in PATCHED_OPS) else [])

    threads = [threading.Thread(target=enter_and_leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert registered() == STOCK


def test_another_gradient_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    other = lambda op, grad: [None, None]
    with monkeypatch.context() as patch:
        patch.setitem(ops.gradient_registry._registry["Conv2D"], "type", other)
        with plugin.patched_tensorflow():
            assert ops.gradient_registry.lookup("Conv2D") is not other
        assert ops.gradient_registry.lookup("Conv2D") is other


def test_replaced_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.patch_tensorflow()
    with monkeypatch.context() as patch:
        patch.setitem(ops.gradient_registry._registry["Conv2D"], "type", lambda op, grad: [None, None])
        before = registered()
        with pytest.raises(RuntimeError, match="the gradient of Conv2D was replaced after patching; put it back first"):
            plugin.unpatch_tensorflow()
        assert registered() == before


def test_replaced_meanwhile_and_patched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ops.gradient_registry._registry["Conv2D"]
    with plugin.patched_tensorflow(), monkeypatch.context() as patch:
        patch.setitem(entry, "type", lambda op, grad: [None, None])
        before = registered()
        with pytest.raises(RuntimeError, match="the gradient of Conv2D was replaced after patching; put it back first"):
            plugin.patch_tensorflow()
        with pytest.raises(RuntimeError), plugin.patched_tensorflow():
            pass
        assert registered() == before
    assert registered() == STOCK


def test_replaced_and_put_back_by_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ops.gradient_registry._registry["Conv2D"]
    plugin.patch_tensorflow()
    patched = registered()
    with monkeypatch.context() as patch:
        patch.setitem(entry, "type", lambda op, grad: [None, None])
        with pytest.raises(RuntimeError):
            plugin.unpatch_tensorflow()
    entry["type"] = STOCK["Conv2D"]
    plugin.patch_tensorflow()
    assert registered() == patched


def test_the_callers_error_comes_before_that_of_a_patch_that_cannot_be_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ops.gradient_registry._registry["Conv2D"]

    @plugin.patched_tensorflow()
    def replace_and_fail() -> None:
        entry["type"] = lambda op, grad: [None, None]
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setitem(entry, "type", STOCK["Conv2D"])  # puts it back
        with pytest.raises(KeyError):
            replace_and_fail()


@pytest.mark.parametrize("device", ["/job:localhost", "/job:localhost/replica:0/task:0", "/task:0", "/CPU:0"])
def test_device_named_in_part(device: str) -> None:
    w = normal(3, 3, 4, 5, seed=1)
    dilated = lambda x, w: tf.nn.conv2d(x * 1, w, 1, "SAME", dilations=2)

    def on_the_device(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.device(device):
            return gradients(dilated, x, w)

    with plugin.patched_tensorflow():
        for a, e in zip(tf.function(on_the_device)(X), gradients(dilated, X, w), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["plain", "strided"])
def test_unknown_batch_keeps_the_stock_input_gradient(layout: str) -> None:
    """As in Keras's fit. Composed of convolutions it would take twice as long with a stride."""
    strides = 2 if layout == "strided" else 1

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 8])])
    def both(x: tf.Tensor) -> list[tf.Tensor]:
        return gradients(lambda x, w: tf.nn.conv2d(x, w, strides, "SAME"), x, tf.ones([3, 3, 8, 4]))

    with plugin.patched_tensorflow():
        types = [op.type for op in both.get_concrete_function().graph.get_operations()]
    assert types.count("Conv2DBackpropInput") == types.count("Conv2DBackpropFilterV2") == types.count("Conv2D") == 1


def test_device_of_a_traced_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors have none yet. On a GPU TensorFlow would have a kernel for groups."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda *_: ["/physical_device:GPU:0"])
    x, w = normal(1, 8, 8, 4), normal(3, 3, 2, 4)
    with plugin.patched_tensorflow(), tf.device("/CPU:0"):
        dx, _ = tf.function(lambda x, w: gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), x, w))(x, w)
    assert dx.shape == x.shape


def test_device_of_an_op(monkeypatch: pytest.MonkeyPatch) -> None:
    """tf.device's, whatever device its input is on."""
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda *_: ["/physical_device:GPU:0"])
    on_cpu, on_gpu = (types.SimpleNamespace(device=f"/device:{name}:0") for name in ("CPU", "GPU"))
    assert adjoints._on_cpu(on_cpu)
    assert not adjoints._on_cpu(on_gpu)
    with tf.device("/CPU:0"):
        assert adjoints._on_cpu(on_gpu)
    with tf.device("/GPU:0"):
        assert not adjoints._on_cpu(on_cpu)


def test_warns_of_a_gpu_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: ["/physical_device:GPU:0"])
    monkeypatch.setattr(_build_info, "CUDA_VERSION", "13.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plugin.patch_tensorflow()
    monkeypatch.setattr(_build_info, "CUDA_VERSION", None)
    with pytest.warns(RuntimeWarning, match="has no kernels for GPUs"):
        plugin.patch_tensorflow()


def test_dilation_that_takes_every_tap_out_of_the_image() -> None:
    """In the time and memory of a small problem: 2^40 elements lie between two taps."""
    with plugin.patched_tensorflow():
        dx, dw = gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME", dilations=2**20), X, normal(2, 2, 4, 5))
    assert not np.any(dx)
    assert not np.any(dw)


@pytest.mark.parametrize(
    "registry",
    [
        {},
        {"Conv2D": {"type": None, "location": None}},
        dict.fromkeys(PATCHED_OPS, (None, None)),
        None,
    ],
    ids=["empty", "one entry", "other entries", "none"],
)
def test_unknown_registry(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ops.gradient_registry, "_registry", registry)
        with pytest.raises(
            RuntimeError, match=f"gradient registry of TensorFlow {tf.version.VERSION} is not laid out as"
        ):
            plugin.patch_tensorflow()
        with pytest.raises(RuntimeError), plugin.patched_tensorflow():
            pass


@pytest.mark.parametrize(("value", "patched"), [("1", True), ("0", False)])
def test_environment(value: str, patched: bool) -> None:
    program = """
from tensorflow.python.framework import ops
import tensorflow as tf
before = ops.gradient_registry.lookup("Conv2D")
import tensorflow_conv_backprop
print(ops.gradient_registry.lookup("Conv2D") is not before)
"""
    assert run_bare_program(program, TF_CONV_BACKPROP_PATCH=value) == f"{patched}\n"


def test_environment_that_says_neither() -> None:
    program = """
try:
    import tensorflow_conv_backprop
except ImportError as error:
    print(error)
"""
    out = run_bare_program(program, TF_CONV_BACKPROP_PATCH="true")
    assert out == "TF_CONV_BACKPROP_PATCH must be 0 or 1, got true\n"
