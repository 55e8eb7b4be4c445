"""Memory: when there is none, when there is much, and over a long time."""

from __future__ import annotations

import pathlib

import pytest
from programs import run_program


def available_bytes() -> int:
    """Memory that this process may still have, in bytes."""
    meminfo = pathlib.Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in meminfo if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def test_failing_allocation_is_an_error_and_leaks_nothing():
    out = run_program(
        """
        import resource

        def memory_bytes(field):
            (line,) = (line for line in open("/proc/self/status") if line.startswith(field))
            return int(line.split()[1]) << 10

        # NCHW needs copies of both tensors, 96 MiB; the address space ends 64 MiB further on.
        conv = Convolution(batch=8, image=(256, 256), channels=16, filters=32, data_format="NCHW", padding="SAME")
        x, dy = tf.ones(conv.input_shape), tf.ones(conv.output_shape)
        filter = tf.zeros(conv.filter_shape)
        compute = lambda: plugin.conv2d_backprop_filter_v2(x, filter, dy, **conv.attributes).numpy()
        expected = compute()

        def fail():
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes("VmSize:") + (64 << 20), resource.RLIM_INFINITY))
            try:
                compute()
            except tf.errors.ResourceExhaustedError as error:
                return error.message
            finally:
                resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        print(fail())
        before = memory_bytes("VmRSS:")
        messages = {fail() for _ in range(50)}
        assert len(messages) == 1 and None not in messages, messages
        assert memory_bytes("VmRSS:") < before + (8 << 20), "each failure keeps memory"
        np.testing.assert_array_equal(compute(), expected)
        """,
        TF_ENABLE_ONEDNN_OPTS="0",  # with oneDNN TensorFlow's allocator keeps what is freed
    )
    assert "scratch memory" in out


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_thousand_steps_keep_no_memory(mode):
    run_program(
        """
        import gc

        def resident_bytes():
            gc.collect()
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        # Scratch memory, transposes, and a second try of Winograd's after an Inf.
        convs = [
            Convolution(image=(16, 16), channels=24, filters=32, padding="SAME"),
            Convolution(image=(16, 16), channels=24, filters=24, groups=24, data_format="NCHW"),
            Convolution(image=(16, 16), channels=16, filters=32, groups=2, strides=(2, 2), data_format="NCHW"),
        ]
        operands = [tuple(map(tf.constant, conv.data("float32"))) for conv in convs]
        operands[0] = (operands[0][0], operands[0][1] / tf.zeros([]))

        def step():
            for conv, (x, dy) in zip(convs, operands):
                dw = plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape), dy, **conv.attributes)

        step = tf.function(step) if sys.argv[1] == "graph" else step
        for _ in range(300):
            step()
        before = resident_bytes()
        for _ in range(1000):
            step()
        grown = resident_bytes() - before
        # One 1-KiB block kept in each step would be 1 MiB.
        assert grown < 1 << 20, f"{grown} bytes more after 1000 steps"
        """,
        mode,
    )


LARGE = {
    "input": "image=(32769, 65537), channels=1, filters=1, kernel=(1, 1), strides=(8, 8)",
    "input, NCHW": "image=(32769, 32769), channels=2, filters=1, kernel=(1, 1), strides=(8, 8), data_format='NCHW'",
    "out_backprop": "image=(181, 182), channels=1, filters=65536, kernel=(1, 1)",
}


@pytest.mark.skipif(available_bytes() < 20e9, reason="needs 20 GB of free memory")
@pytest.mark.parametrize("name", LARGE)
def test_more_than_int32_elements(name):
    """Zeros but for the first pixel, the middle one and the last, which lies beyond element 2^31."""
    run_program(f"""
        conv = Convolution(batch=1, {LARGE[name]})
        assert max(np.prod(conv.input_shape), np.prod(conv.output_shape)) > 2**31
        x = np.zeros(conv.input_shape, tf.bfloat16.as_numpy_dtype)
        dy = np.zeros(conv.output_shape, tf.bfloat16.as_numpy_dtype)
        # Views, which keep the layout out of what follows.
        x_pixels, dy_pixels = (np.moveaxis(a, 1, 3) if conv.data_format == "NCHW" else a for a in (x, dy))
        height, width = dy_pixels.shape[1:3]
        for i, (h, w) in enumerate([(0, 0), (height // 2, width // 2), (height - 1, width - 1)]):
            x_pixels[0, h * conv.strides[0], w * conv.strides[1]] = 1
            dy_pixels[0, h, w] = 2**i
        dw = plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape, x.dtype), dy, **conv.attributes).numpy()
        expected = np.zeros(conv.filter_shape)
        expected[conv.kernel[0] // 2, conv.kernel[1] // 2] = 7
        np.testing.assert_allclose(dw.astype(np.float64), expected, atol=1e-5)
    """)
