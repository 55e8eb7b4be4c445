"""`plan`: which algorithm would run, and why the others declined."""

from __future__ import annotations

import argparse
from typing import Any

from tensorflow_conv_backprop.algorithm import ALGORITHMS
from tensorflow_conv_backprop.cli.arguments import ArgumentError, add_problem_arguments, problems_of


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="which algorithm would run for a shape, and why",
        description="Prints the CPU algorithm that would run, how it cuts the problem, and why others declined.",
    )
    add_problem_arguments(parser)
    parser.add_argument("--algorithm", choices=ALGORITHMS, help="plan for this one instead of the one that is set")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    for name, _, problem in problems_of(arguments):
        try:
            planned = problem.plan(arguments.algorithm)
        except ValueError as error:
            raise ArgumentError(f"{name}: {error}") from None
        print(f"{name}, {problem.dtype}, {problem.flops / 1e9:.3g} GFLOP\n{planned}\n")
    return 0
