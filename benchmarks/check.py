"""Whether a filter gradient is right, at the price of reading the operands once.

Seen through a random vector of signs over the input channels and one over the output channels, a filter gradient is
that of a convolution with one channel: sum_cf u[c] dW[kh, kw, c, f] v[f] correlates the images X u and dY v. The square
of the error that is seen through the signs is, in expectation, the square of dW's own, wherever the error is.
"""

from __future__ import annotations

import numpy as np
from layers import Layer
from peers import Problem

# Relative L2. What is beyond is a wrong answer; what is below may still be poor, as sums in bfloat16 are.
LIMITS = {"float32": 1e-4, "float64": 1e-12, "half": 0.1, "bfloat16": 0.3}
# Values of the projected gradient that the estimate averages over, at least.
_SAMPLES = 32


class Projection:
    """The right answer to one problem, as seen through random signs, in float64."""

    def __init__(self, problem: Problem) -> None:
        layer = self._layer = problem.layer
        probes = -(-_SAMPLES // (layer.kernel**2 * layer.groups))
        generator = np.random.default_rng(0)
        in_group, out_group = layer.channels // layer.groups, layer.filters // layer.groups
        self._u = generator.choice([-1.0, 1.0], (layer.groups, in_group, probes))
        self._v = generator.choice([-1.0, 1.0], (layer.groups, out_group, probes))
        self._expected = sum(
            _correlate(layer, self._project(x.numpy(), self._u), self._project(dy.numpy(), self._v))
            for x, dy in zip(problem.x, problem.dy, strict=True)
        )

    def error(self, dw: np.ndarray) -> float:
        """Relative L2, estimated; `dw` is HWIO."""
        dw = dw.reshape(*dw.shape[:3], self._layer.groups, -1)
        seen = np.einsum("hwcgf,gcp,gfp->hwgp", dw, self._u, self._v, optimize=True)
        return float(np.linalg.norm(seen - self._expected) / np.linalg.norm(self._expected))

    def _project(self, image: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """An image in the layer's layout to [groups, probes, height, width]."""
        if self._layer.data_format == "NCHW":
            image = np.moveaxis(image, 0, -1)
        height, width, _ = image.shape
        groups, channels, _ = signs.shape
        by_group = image.astype(np.float64).reshape(height * width, groups, channels).transpose(1, 0, 2)
        projected: np.ndarray = by_group @ signs
        return projected.transpose(0, 2, 1).reshape(groups, -1, height, width)


def _correlate(layer: Layer, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """[kernel, kernel, groups, probes]"""
    x = np.pad(x, ((0, 0), (0, 0), layer.pads, layer.pads))
    reach = (layer.out_size - 1) * layer.stride + 1
    starts = [tap * layer.dilation for tap in range(layer.kernel)]
    return np.array(
        [
            [
                np.einsum("gphw,gphw->gp", x[..., i : i + reach : layer.stride, j : j + reach : layer.stride], dy)
                for j in starts
            ]
            for i in starts
        ]
    )
