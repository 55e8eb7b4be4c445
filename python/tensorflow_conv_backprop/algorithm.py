"""Which algorithm computes filter gradients, and how often each has."""

from __future__ import annotations

from tensorflow_conv_backprop import library

ALGORITHMS = ("auto", "direct", "winograd", "depthwise", "reference")


def set_algorithm(name: str) -> None:
    """Chooses the algorithm of every later filter gradient of this process, but for those that XLA itself computes.

    The environment variable TF_CONV_BACKPROP_ALGORITHM makes the same choice before the program starts.

    >>> set_algorithm("direct")
    >>> get_algorithm()
    'direct'
    >>> set_algorithm("auto")

    Args:
        name: `"auto"` lets the planner choose for each problem (see `plan`). `"direct"`, `"winograd"`, `"depthwise"` and
            `"reference"` force one; a problem that it cannot do is then an InvalidArgumentError that gives the reason. On a
            GPU, `"direct"` leaves cuDNN out, `"depthwise"` and `"reference"` force kernels that are slower for most
            problems, and `"winograd"` is an error.

    Raises:
        ValueError: If there is no such algorithm.
    """
    library.functions().wgrad_set_algorithm(encoded_algorithm(name))


def encoded_algorithm(name: str) -> bytes:
    """The name for C.

    Raises:
        ValueError: If there is no such algorithm.
    """
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {name!r}")
    return name.encode()


def get_algorithm() -> str:
    """The name that was last given to `set_algorithm`, else that of TF_CONV_BACKPROP_ALGORITHM, else `"auto"`.

    The environment's is given as it is: if it names no algorithm, filter gradients fail and say so.
    """
    name: bytes = library.functions().wgrad_get_algorithm()
    return name.decode()


def run_counts() -> dict[str, int]:
    """How many filter gradients each algorithm has computed in this process since `reset_run_counts`.

    Those on CPU count as the algorithms of `set_algorithm`; one that was computed again, because a sum was not finite
    or not exact enough, as that which gave the result. Those on a GPU count as `"cudnn"`, `"implicit_gemm"`,
    `"depthwise"`, which is one count for both, or `"general"`. Empty problems do not count.
    """
    return library.parse(library.functions().wgrad_run_counts())


def reset_run_counts() -> None:
    """Starts counting from zero."""
    library.functions().wgrad_reset_run_counts()
