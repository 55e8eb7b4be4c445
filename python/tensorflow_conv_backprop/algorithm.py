"""Which algorithm computes filter gradients, and how often each has."""

from __future__ import annotations

from tensorflow_conv_backprop import library

ALGORITHMS = ("auto", "direct", "winograd", "depthwise", "reference")


def set_algorithm(name: str) -> None:
    """Chooses the algorithm of every later filter gradient of this process.

    The environment variable TF_CONV_BACKPROP_ALGORITHM makes the same choice before the program starts.

    >>> set_algorithm("direct")
    >>> get_algorithm()
    'direct'
    >>> set_algorithm("auto")

    Args:
        name: `"auto"` lets the planner choose for each problem (see `plan`). `"direct"`, `"winograd"`, `"depthwise"` and
            `"reference"` force one; a problem that it cannot do is then an InvalidArgumentError that gives the reason.

    Raises:
        ValueError: If there is no such algorithm.
    """
    if not isinstance(name, str) or not library.functions().wgrad_set_algorithm(name.encode()):
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {name!r}")


def get_algorithm() -> str:
    """The name that was last given to `set_algorithm`, else that of TF_CONV_BACKPROP_ALGORITHM, else `"auto"`."""
    name: bytes = library.functions().wgrad_get_algorithm()
    return name.decode()


def run_counts() -> dict[str, int]:
    """How many filter gradients each algorithm has computed in this process since `reset_run_counts`.

    Those on a GPU count as `"cudnn"`, `"implicit_gemm"`, `"depthwise"` or `"general"`, whichever kind of kernel ran.
    """
    return library.parse(library.functions().wgrad_run_counts())


def reset_run_counts() -> None:
    """Starts counting from zero."""
    library.functions().wgrad_reset_run_counts()
