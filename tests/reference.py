"""The filter gradient by its definition, in float64, and how far from it a result may be."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = ("float16", "bfloat16", "float32", "float64")

# Half the distance from 1 to the next number of the type: the relative error of one rounding.
UNIT_ROUNDOFF = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
# The largest error of one rounding to a subnormal number.
SUBNORMAL_ROUNDING = {"float16": 2.0**-25, "bfloat16": 2.0**-134}
# The relative L2 error that the contract allows.
MAX_RELATIVE_ERROR = {"float32": 1.5e-6, "float64": 1e-14}


def numpy_dtype(dtype: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One configuration. Pairs are (height, width); `channels` and `filters` are totals over all groups."""

    batch: int = 2
    image: tuple[int, int] = (6, 7)
    channels: int = 3
    kernel: tuple[int, int] = (3, 3)
    filters: int = 4
    groups: int = 1
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: str = "VALID"
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # (before, after) each, for EXPLICIT
    data_format: str = "NHWC"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._ordered(self.batch, *self.image, self.channels)

    @property
    def filter_shape(self) -> tuple[int, ...]:
        return (*self.kernel, self.channels // self.groups, self.filters)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self._ordered(self.batch, self._slide(0)[0], self._slide(1)[0], self.filters)

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of Conv2D and of its gradients."""
        explicit = self.padding == "EXPLICIT"
        return {
            "strides": list(self._ordered(1, *self.strides, 1)),
            "padding": self.padding,
            "explicit_paddings": [p for pair in self._ordered((0, 0), *self.pads, (0, 0)) for p in pair if explicit],
            "data_format": self.data_format,
            "dilations": list(self._ordered(1, *self.dilations, 1)),
        }

    @property
    def fits(self) -> bool:
        """Whether the filter reaches no further than the padded image, so that there is an output."""
        return min(self._slide(0)[0], self._slide(1)[0]) > 0

    def data(self, dtype: str, seed: int = 0, kind: str = "normal") -> tuple[np.ndarray, np.ndarray]:
        """Random input and out_backprop: "normal", "relu" (not negative, mean near 1) or "range" (2^-12 to 2^12)."""
        generator = np.random.default_rng(seed)
        reach = 3 if dtype == "float16" else 12  # half would overflow

        def draw(shape: tuple[int, ...]) -> np.ndarray:
            values = generator.standard_normal(shape)
            if kind == "relu":
                values = np.maximum(values + 1.0, 0.0)
            elif kind == "range":
                values *= 2.0 ** generator.uniform(-reach, reach, shape)
            return values.astype(numpy_dtype(dtype))

        return draw(self.input_shape), draw(self.output_shape)

    def filter_gradient(self, x: np.ndarray, dy: np.ndarray, dtype: type = np.float64) -> np.ndarray:
        """The definition in float64 or `dtype`. Taps in the padding contribute nothing, not zero times something."""
        x, dy = (np.moveaxis(a, 1, 3) if self.data_format == "NCHW" else a for a in (x, dy))
        x, dy = x.astype(dtype), dy.astype(dtype)
        dw = np.zeros(self.filter_shape, dtype)
        for kh in range(self.kernel[0]):
            for kw in range(self.kernel[1]):
                (oh, ih), (ow, iw) = self._taps(0, kh), self._taps(1, kw)
                seen, weights = (self._by_group(a) for a in (x[:, ih][:, :, iw], dy[:, oh][:, :, ow]))
                of_groups = np.matmul(seen.transpose(0, 2, 1), weights)
                dw[kh, kw] = of_groups.transpose(1, 0, 2).reshape(dw.shape[2:])
        return dw

    def _by_group(self, a: np.ndarray) -> np.ndarray:
        """[n, h, w, channels] to [group, pixel, channel of the group]."""
        return a.reshape(-1, self.groups, a.shape[-1] // self.groups).transpose(1, 0, 2)

    def _ordered(self, n: Any, h: Any, w: Any, c: Any) -> tuple[Any, ...]:
        return (n, h, w, c) if self.data_format == "NHWC" else (n, c, h, w)

    def _slide(self, axis: int) -> tuple[int, int]:
        """Output size, and zeros before the first pixel."""
        size, stride = self.image[axis], self.strides[axis]
        span = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        if self.padding == "SAME":
            out = -(-size // stride)
            return out, max(0, (out - 1) * stride + span - size) // 2
        before, after = self.pads[axis] if self.padding == "EXPLICIT" else (0, 0)
        return max(0, (before + size + after - span) // stride + 1), before

    def _taps(self, axis: int, k: int) -> tuple[list[int], list[int]]:
        """The outputs that tap `k` of the filter gives a pixel to, and these pixels."""
        out, before = self._slide(axis)
        pixels = [o * self.strides[axis] + k * self.dilations[axis] - before for o in range(out)]
        inside = [o for o in range(out) if 0 <= pixels[o] < self.image[axis]]
        return inside, [pixels[o] for o in inside]


def assert_within_contract(conv: Convolution, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, dtype: str) -> None:
    """Fails unless `dw`, computed from `x` and `dy` of type `dtype`, is as close to the definition as promised."""
    assert dw.shape == conv.filter_shape
    assert dw.dtype == numpy_dtype(dtype)
    expected = conv.filter_gradient(x, dy)
    error = np.abs(dw.astype(np.float64) - expected)
    # The norm that random signs would give: where few sums happen to cancel, the result's own norm says nothing.
    squares = conv.filter_gradient(x.astype(np.float64) ** 2, dy.astype(np.float64) ** 2)
    norm = max(np.linalg.norm(expected), np.sqrt(squares.sum()))
    if dtype in MAX_RELATIVE_ERROR:
        assert np.linalg.norm(error) <= MAX_RELATIVE_ERROR[dtype] * norm
        return
    # One rounding of the float32 result; one value of it may be 4 times as far off as the root mean square.
    float32_error = 4 * MAX_RELATIVE_ERROR["float32"] * norm / np.sqrt(max(1, dw.size))
    allowed = UNIT_ROUNDOFF[dtype] * (np.abs(expected) + float32_error) + float32_error + SUBNORMAL_ROUNDING[dtype]
    assert np.all(error <= allowed), f"{np.max(error / allowed)} times what one rounding of the float32 result allows"
