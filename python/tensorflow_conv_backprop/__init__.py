"""Kernels, gradients and automatic use of TensorFlow's `conv2d_backprop_filter_v2`.

Importing this package loads the plugin's library. `tf.conv2d_backprop_filter_v2`,
`tf.compat.v1.conv2d_backprop_filter_v2` and `tf.raw_ops.Conv2DBackpropFilterV2` work from then on.
"""

import os

from tensorflow_conv_backprop import library

library.load()

from tensorflow_conv_backprop import (  # noqa: F401 (registered by being imported)
    compat,
    gradients,
    statistics,
    vectorization,
)
from tensorflow_conv_backprop._build_info import VERSION as __version__
from tensorflow_conv_backprop.algorithm import (
    get_algorithm,
    reset_run_counts,
    run_counts,
    set_algorithm,
)
from tensorflow_conv_backprop.convolution import conv2d
from tensorflow_conv_backprop.library import library_path
from tensorflow_conv_backprop.ops import conv2d_backprop_filter_v2
from tensorflow_conv_backprop.patch import patch_tensorflow, patched_tensorflow, unpatch_tensorflow
from tensorflow_conv_backprop.planning import Plan, plan

__all__ = [
    "Plan",
    "__version__",
    "compat",
    "conv2d",
    "conv2d_backprop_filter_v2",
    "get_algorithm",
    "library_path",
    "patch_tensorflow",
    "patched_tensorflow",
    "plan",
    "reset_run_counts",
    "run_counts",
    "set_algorithm",
    "unpatch_tensorflow",
]

_patch = os.environ.get("TF_CONV_BACKPROP_PATCH")
if _patch not in (None, "", "0", "1"):
    raise ImportError(f"TF_CONV_BACKPROP_PATCH must be 0 or 1, got {_patch}")
if _patch == "1":
    patch_tensorflow()
