"""What would run for a configuration, and why, without running it."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tensorflow_conv_backprop import library
from tensorflow_conv_backprop.algorithm import encoded_algorithm
from tensorflow_conv_backprop.attributes import int64s

# Positions are the values of DataType, Layout and Padding in tf_ops/wgrad/problem.h.
_DTYPES = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_LAYOUTS = ("NHWC", "NCHW")
_PADDINGS = ("VALID", "SAME", "EXPLICIT")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The planner's choice for one configuration, on the CPU."""

    algorithm: str
    """The algorithm that would run."""
    reason: str
    """Why it was chosen."""
    isa: str
    """The instruction set that its kernels use."""
    transpose: bool
    """Whether `input` and `out_backprop` are copied to NHWC first."""
    blocking: Mapping[str, Any]
    """How it cuts the problem into pieces that fit the caches; the keys depend on the algorithm."""
    workspace_bytes: Mapping[str, int]
    """Scratch memory: `shared`, allocated once, and `per_worker`, allocated for each thread."""
    tasks: int
    """Pieces of work that may run at once, with as many threads."""
    declined: Mapping[str, str]
    """The algorithms that come before it in the list of candidates, and why each declined."""

    def __str__(self) -> str:
        lines = [f"{self.algorithm} ({self.isa}): {self.reason}"]
        if self.transpose:
            lines.append("  transpose  input and out_backprop to NHWC")
        if self.blocking:
            lines.append("  blocking   " + ", ".join(f"{key} {value}" for key, value in self.blocking.items()))
        lines.append("  workspace  " + ", ".join(f"{key} {value:,} B" for key, value in self.workspace_bytes.items()))
        lines.append(f"  tasks      {self.tasks}")
        lines += [f"  not {name}: {reason}" for name, reason in self.declined.items()]
        return "\n".join(lines)


def plan(
    input_shape: Sequence[int],
    filter_shape: Sequence[int],
    strides: Sequence[int],
    padding: str,
    dtype: Any = tf.float32,
    explicit_paddings: Sequence[int] = (),
    data_format: str = "NHWC",
    dilations: Sequence[int] = (1, 1, 1, 1),
    algorithm: str | None = None,
) -> Plan:
    """Says which algorithm `conv2d_backprop_filter_v2` would run on the CPU, and why.

    >>> few_pixels = plan([1, 4, 4, 64], [3, 3, 64, 64], [1, 1, 1, 1], "SAME")
    >>> few_pixels.algorithm
    'direct'
    >>> few_pixels.declined["winograd"]
    'for so few pixels or channels the transforms cost more than they save'

    Args:
        input_shape: Four integers in the order of `data_format`, as `input.shape`.
        filter_shape: `[filter_height, filter_width, in_channels / groups, out_channels]`.
        strides: As for `conv2d_backprop_filter_v2`.
        padding: As for `conv2d_backprop_filter_v2`.
        dtype: half, bfloat16, float32 or float64, in any form that `tf.as_dtype` takes.
        explicit_paddings: As for `conv2d_backprop_filter_v2`.
        data_format: As for `conv2d_backprop_filter_v2`.
        dilations: As for `conv2d_backprop_filter_v2`.
        algorithm: The name to plan for instead of that of `get_algorithm`; see `set_algorithm`.

    Returns:
        The `Plan`; printed, it is a short text.

    Raises:
        ValueError: If the op would reject the configuration, or the algorithm cannot do it or is none.
        TypeError: If a shape or an attribute is no sequence of integers.
    """
    pads = int64s("explicit_paddings", explicit_paddings)
    request = library.Request(
        dtype=_position("dtype", tf.as_dtype(dtype), _DTYPES),
        layout=_position("data_format", data_format, _LAYOUTS),
        padding=_position("padding", padding, _PADDINGS),
        num_explicit_paddings=len(pads),
        input_shape=_integers("input_shape", input_shape, 4),
        filter_shape=_integers("filter_shape", filter_shape, 4),
        strides=_integers("strides", strides, 4),
        dilations=_integers("dilations", dilations, 4),
        explicit_paddings=_integers("explicit_paddings", pads, 8) if pads else (),
    )
    name = None if algorithm is None else encoded_algorithm(algorithm)
    answer = library.parse(library.functions().wgrad_plan(ctypes.byref(request), name))
    if "error" in answer:
        raise ValueError(answer["error"])
    # Two ways to run an algorithm may be asked in turn; what the first declined is no news if the second runs.
    declined = {
        candidate["algorithm"]: candidate["reason"]
        for candidate in answer.pop("declined")
        if candidate["algorithm"] != answer["algorithm"]
    }
    return Plan(**answer, declined=declined)


def _position(name: str, value: Any, values: Sequence[Any]) -> int:
    if not isinstance(value, type(values[0])) or value not in values:
        names = ", ".join(str(getattr(v, "name", v)) for v in values)
        raise ValueError(f"{name} must be one of {names}, got {getattr(value, 'name', value)!r}")
    return values.index(value)


def _integers(name: str, values: Sequence[int], length: int) -> tuple[int, ...]:
    found = int64s(name, values)
    if len(found) != length:
        raise ValueError(f"{name} must have {length} elements, got {list(found)}")
    return found
