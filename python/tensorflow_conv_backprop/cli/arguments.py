"""The arguments that `plan` and `bench` share: a model, or the shapes and attributes of one convolution."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from tensorflow_conv_backprop.algorithm import ALGORITHMS, get_algorithm
from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.cli.models import MODELS, layers
from tensorflow_conv_backprop.cli.problem import Problem

DTYPES = ("float16", "bfloat16", "float32", "float64")

EXAMPLES = """examples:
  %(prog)s resnet50 --batch 16
  %(prog)s 8,28,28,64 3,3,64,64
  %(prog)s 8,64,28,28 3,3,16,64 --data-format NCHW --strides 2 --padding 1,1,1,1 --dtype bfloat16
"""


class ArgumentError(Exception):
    """The arguments contradict each other; the message says how."""


class NamedProblem(NamedTuple):
    name: str
    occurrences: int
    problem: Problem


def add_problem_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "what", metavar="MODEL|INPUT", help=f"{', '.join(MODELS)}; or the shape of the input, such as 8,28,28,64"
    )
    parser.add_argument("filter", nargs="?", metavar="FILTER", help="height,width,in_channels/groups,out_channels")
    parser.add_argument("--batch", type=int, metavar="N", help="images for a model (default: 8)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="default: float32")
    parser.add_argument("--data-format", choices=("NHWC", "NCHW"), default="NHWC", help="default: NHWC")
    shapes = parser.add_argument_group("for shapes")
    shapes.add_argument("--strides", type=integers, metavar="S[,S]", help="default: 1")
    shapes.add_argument("--dilations", type=integers, metavar="D[,D]", help="default: 1")
    shapes.add_argument(
        "--padding",
        help="SAME, VALID, or rows and columns of zeros: top,bottom,left,right (default: SAME)",
    )


def integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def require_known_algorithm() -> None:
    """Raises ArgumentError if TF_CONV_BACKPROP_ALGORITHM is set to something else than an algorithm."""
    if get_algorithm() not in ALGORITHMS:
        raise ArgumentError(f"TF_CONV_BACKPROP_ALGORITHM must be one of {', '.join(ALGORITHMS)}, got {get_algorithm()}")


def problems_of(arguments: argparse.Namespace) -> list[NamedProblem]:
    """What the arguments name.

    Raises:
        ArgumentError: If they are no model and no convolution that TensorFlow accepts, or no algorithm is known by the
            name in the environment.
    """
    require_known_algorithm()
    try:
        problems = _of_model(arguments) if arguments.filter is None else _of_shapes(arguments)
        for _, _, problem in problems:
            _ = problem.output_shape
    except (ValueError, TypeError) as error:  # the latter where a size has more than 64 bits
        message, _, _ = str(error).partition(" for '{{node")  # TensorFlow goes on with the node
        raise ArgumentError(message) from None
    return problems


def _of_model(arguments: argparse.Namespace) -> list[NamedProblem]:
    if arguments.what not in MODELS:
        raise ArgumentError(f"no model {arguments.what!r}; there are {', '.join(MODELS)}, or give two shapes")
    for option in ("strides", "dilations", "padding"):
        if getattr(arguments, option) is not None:
            raise ArgumentError(f"--{option} is for shapes; the layers of a model have their own")
    batch = 8 if arguments.batch is None else arguments.batch
    if batch < 1:
        raise ArgumentError(f"--batch must be positive, got {batch}")
    problems = []
    for layer, count in layers(arguments.what).items():
        image = (batch, layer.image, layer.image, layer.channels)
        if arguments.data_format == "NCHW":
            image = (batch, layer.channels, layer.image, layer.image)
        filters = (layer.kernel, layer.kernel, layer.channels // layer.groups, layer.filters)
        attributes = ConvAttributes.of_arguments(layer.stride, "SAME", arguments.data_format, 1)
        problems.append(NamedProblem(str(layer), count, Problem(image, filters, attributes, arguments.dtype)))
    return problems


def _of_shapes(arguments: argparse.Namespace) -> list[NamedProblem]:
    if arguments.batch is not None:
        raise ArgumentError("--batch is for a model; the shape of the input has the batch in it")
    input_shape, filter_shape = _shape("INPUT", arguments.what), _shape("FILTER", arguments.filter)
    attributes = ConvAttributes.of_arguments(
        arguments.strides or 1, _padding(arguments), arguments.data_format, arguments.dilations
    )
    problem = Problem(input_shape, filter_shape, attributes, arguments.dtype)
    return [NamedProblem(f"{arguments.what} {arguments.filter}", 1, problem)]


def _shape(name: str, text: str) -> tuple[int, ...]:
    try:
        shape = integers(text)
    except ValueError:
        shape = ()
    if len(shape) != 4 or min(shape) < 1:
        raise ArgumentError(f"{name} must be four positive integers such as 8,28,28,64, got {text}")
    return shape


def _padding(arguments: argparse.Namespace) -> str | list[tuple[int, int]]:
    """The `padding` of `tf.nn.conv2d`."""
    if arguments.padding in (None, "SAME", "VALID"):
        return arguments.padding or "SAME"
    try:
        top, bottom, left, right = integers(arguments.padding)
    except ValueError:
        raise ArgumentError(
            f"--padding must be SAME, VALID or top,bottom,left,right, got {arguments.padding}"
        ) from None
    none, rows, columns = (0, 0), (top, bottom), (left, right)
    return [none, none, rows, columns] if arguments.data_format == "NCHW" else [none, rows, columns, none]
