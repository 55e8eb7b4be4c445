"""Computes with a given number of intra-op threads. Run by test_threads.py in processes of its own.

python threads.py hashes THREADS     prints a hash of each result, as JSON
python threads.py crowd THREADS      many calls at once, from Python, from one graph and from tf.data
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import DTYPES, Convolution
from tensorflow_conv_backprop.algorithm import ALGORITHMS

CONVOLUTIONS = {
    "3x3": Convolution(image=(28, 28), channels=64, filters=64, padding="SAME"),
    "3x3 deep": Convolution(image=(7, 9), channels=160, filters=136, padding="SAME"),
    "3x3 wide": Convolution(batch=1, image=(57, 130), channels=16, filters=24, padding="SAME"),
    "1x1": Convolution(batch=3, image=(28, 28), channels=130, filters=70, kernel=(1, 1)),
    "strided": Convolution(image=(29, 28), channels=33, filters=48, strides=(2, 2), padding="SAME"),
    "dilated": Convolution(image=(29, 28), channels=64, filters=64, dilations=(2, 3), padding="SAME"),
    "first layer": Convolution(batch=3, image=(64, 64), kernel=(7, 7), filters=64, strides=(2, 2), padding="SAME"),
    "depthwise": Convolution(image=(28, 28), channels=70, filters=70, groups=70, padding="SAME"),
    "17 groups": Convolution(image=(15, 15), channels=68, filters=51, groups=17, padding="SAME"),
}


def compute(conv: Convolution, x: np.ndarray, dy: np.ndarray) -> tf.Tensor:
    return plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape, x.dtype), dy, **conv.attributes)


def hashes() -> dict[str, str]:
    found = {}
    for name, conv in CONVOLUTIONS.items():
        for data_format in ("NHWC", "NCHW"):
            laid_out = dataclasses.replace(conv, data_format=data_format)
            for dtype in DTYPES:
                x, dy = laid_out.data(dtype)
                for algorithm in ALGORITHMS:
                    plugin.set_algorithm(algorithm)
                    try:
                        dw = compute(laid_out, x, dy).numpy()
                    except tf.errors.InvalidArgumentError:  # test_contract.py knows which algorithm may refuse what
                        continue
                    found[f"{name} {data_format} {dtype} {algorithm}"] = hashlib.sha256(dw.tobytes()).hexdigest()
    return found


def crowd() -> dict[str, bool]:
    conv = CONVOLUTIONS["3x3"]
    x, dy = conv.data("float32")
    alone = compute(conv, x, dy).numpy().tobytes()

    def same(_: int) -> bool:
        return compute(conv, x, dy).numpy().tobytes() == alone

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        from_python = all(pool.map(same, range(96)))

    @tf.function
    def graph() -> tf.Tensor:
        return tf.stack([compute(conv, x, dy) for _ in range(48)])

    from_graph = all(dw.tobytes() == alone for dw in graph().numpy())

    mapped = tf.data.Dataset.range(48).map(lambda _: compute(conv, x, dy), num_parallel_calls=16)
    from_dataset = all(dw.tobytes() == alone for dw in mapped.as_numpy_iterator())
    return {"python": from_python, "graph": from_graph, "tf.data": from_dataset}


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[2]))
    print(json.dumps({"hashes": hashes, "crowd": crowd}[sys.argv[1]]()))
