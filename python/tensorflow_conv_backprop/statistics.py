"""What TensorFlow's profiler of graphs counts for the op; registered on import."""

from __future__ import annotations

from typing import Any

from tensorflow.python.framework import graph_util, ops


@ops.RegisterStatistics("Conv2DBackpropFilterV2", "flops")
def flops(graph: Any, node: Any) -> ops.OpStats:
    """A multiplication and an addition for each output pixel, tap, and pair of channels of a group."""
    filter_shape = graph_util.tensor_shape_from_node_def_name(graph, node.input[1])
    out_backprop_shape = graph_util.tensor_shape_from_node_def_name(graph, node.input[2])
    for shape in (filter_shape, out_backprop_shape):
        shape.assert_is_fully_defined()
    return ops.OpStats("flops", 2 * out_backprop_shape.num_elements() * filter_shape[:3].num_elements())
