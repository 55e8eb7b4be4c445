"""One filter-gradient problem, as `wgrad::Problem` has it in memory, and the definition of its result in float64."""

from __future__ import annotations

import ctypes

import numpy as np

DTYPES = ("float16", "bfloat16", "float32", "float64")
LAYOUTS = ("NHWC", "NCHW")


class Problem(ctypes.Structure):
    """Mirrors struct Problem of tf_ops/wgrad/problem.h, field by field."""

    _fields_ = [
        ("dtype", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("batch", ctypes.c_int64),
        ("in_height", ctypes.c_int64),
        ("in_width", ctypes.c_int64),
        ("in_channels", ctypes.c_int64),
        ("filter_height", ctypes.c_int64),
        ("filter_width", ctypes.c_int64),
        ("filter_channels", ctypes.c_int64),
        ("out_height", ctypes.c_int64),
        ("out_width", ctypes.c_int64),
        ("out_channels", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("stride_height", ctypes.c_int64),
        ("stride_width", ctypes.c_int64),
        ("dilation_height", ctypes.c_int64),
        ("dilation_width", ctypes.c_int64),
        ("pad_top", ctypes.c_int64),
        ("pad_left", ctypes.c_int64),
    ]

    @property
    def dtype_name(self) -> str:
        return DTYPES[self.dtype]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape(self.in_height, self.in_width, self.in_channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._shape(self.out_height, self.out_width, self.out_channels)

    @property
    def filter_shape(self) -> tuple[int, ...]:
        return (self.filter_height, self.filter_width, self.filter_channels, self.out_channels)

    @property
    def flops(self) -> float:
        """Multiplications and additions, taps in the padding included."""
        return 2.0 * np.prod(self.filter_shape, dtype=float) * self.batch * self.out_height * self.out_width

    def _shape(self, height: int, width: int, channels: int) -> tuple[int, ...]:
        if LAYOUTS[self.layout] == "NHWC":
            return (self.batch, height, width, channels)
        return (self.batch, channels, height, width)

    def describe(self) -> str:
        return (
            f"{self.dtype_name} {LAYOUTS[self.layout]} input {self.input_shape} filter {self.filter_shape} "
            f"groups {self.groups} stride {self.stride_height}x{self.stride_width} "
            f"dilation {self.dilation_height}x{self.dilation_width} pad {self.pad_top},{self.pad_left} "
            f"output {self.out_height}x{self.out_width}"
        )


def make_problem(
    dtype: str,
    *,
    batch: int,
    size: tuple[int, int],
    filter_size: tuple[int, int],
    group_channels: tuple[int, int],
    groups: int = 1,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
    layout: str = "NHWC",
) -> Problem:
    """`group_channels`: (in, out) of one group. `padding`: ((top, bottom), (left, right))."""
    out = [(size[i] + sum(padding[i]) - (filter_size[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in range(2)]
    if min(out) < 1:
        raise ValueError(f"the window does not fit: size {size}, filter {filter_size}, padding {padding}")
    return Problem(
        dtype=DTYPES.index(dtype),
        layout=LAYOUTS.index(layout),
        batch=batch,
        in_height=size[0],
        in_width=size[1],
        in_channels=group_channels[0] * groups,
        filter_height=filter_size[0],
        filter_width=filter_size[1],
        filter_channels=group_channels[0],
        out_height=out[0],
        out_width=out[1],
        out_channels=group_channels[1] * groups,
        groups=groups,
        stride_height=stride[0],
        stride_width=stride[1],
        dilation_height=dilation[0],
        dilation_width=dilation[1],
        pad_top=padding[0][0],
        pad_left=padding[1][0],
    )


def _inside(offset: int, stride: int, size: int, out: int) -> slice:
    """The outputs whose input position `index * stride + offset` lies in [0, size)."""
    begin = max(0, -(offset // stride))
    end = min(out, -((offset - size) // stride))
    return slice(begin, max(begin, end))


def reference(problem: Problem, inputs: np.ndarray, out_backprop: np.ndarray) -> np.ndarray:
    """The filter gradient [height, width, in channels of a group, out channels] in float64."""
    p = problem
    x, dy = np.asarray(inputs, np.float64), np.asarray(out_backprop, np.float64)
    if LAYOUTS[p.layout] == "NCHW":
        x, dy = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
    x = x.reshape(p.batch, p.in_height, p.in_width, p.groups, p.filter_channels)
    dy = dy.reshape(p.batch, p.out_height, p.out_width, p.groups, p.out_channels // p.groups)
    result = np.zeros((p.filter_height, p.filter_width, p.filter_channels, p.groups, p.out_channels // p.groups))
    for kh in range(p.filter_height):
        h_offset = kh * p.dilation_height - p.pad_top
        rows = _inside(h_offset, p.stride_height, p.in_height, p.out_height)
        for kw in range(p.filter_width):
            w_offset = kw * p.dilation_width - p.pad_left
            columns = _inside(w_offset, p.stride_width, p.in_width, p.out_width)
            taps = x[:, h_offset + np.arange(rows.start, rows.stop) * p.stride_height][
                :, :, w_offset + np.arange(columns.start, columns.stop) * p.stride_width
            ]
            for group in range(p.groups):
                result[kh, kw, :, group] = np.tensordot(
                    taps[:, :, :, group], dy[:, rows, columns, group], axes=([0, 1, 2], [0, 1, 2])
                )
    return result.reshape(p.filter_shape)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Relative L2 error; infinity where a value that should be finite is not."""
    difference = np.linalg.norm((np.asarray(actual, np.float64) - expected).ravel())
    norm = np.linalg.norm(expected.ravel())
    error = difference if norm == 0 else difference / norm
    return float(error) if np.isfinite(error) else float("inf")


def tolerance(dtype: str, tf32: bool) -> float:
    """The bound on the relative L2 error against float64, of the same rounded inputs."""
    if dtype == "float32" and tf32:
        return 1e-3  # each operand is rounded to 11 bits, twice 2^-12 on average and 2^-10 at most
    return {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 1.5e-6, "float64": 1e-14}[dtype]
