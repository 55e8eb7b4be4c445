"""The command line, `python -m tensorflow_conv_backprop {info,check,plan,bench}`.

Exit codes: 0 where all is well, 1 where the self-test fails or something is missing, 2 for arguments that make no sense.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tensorflow_conv_backprop._build_info import VERSION
from tensorflow_conv_backprop.cli import bench, check, info, plan
from tensorflow_conv_backprop.cli.arguments import ArgumentError
from tensorflow_conv_backprop.cli.extras import MissingExtra


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tensorflow_conv_backprop",
        description="Filter gradients of 2-D convolutions for TensorFlow: what is installed, whether it is right on "
        "this machine, which algorithm runs, and how fast.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(title="commands", metavar="{info,check,plan,bench}", required=True)
    for command in (info, check, plan, bench):
        command.add_command(commands)

    parsed = parser.parse_args(arguments)
    try:
        exit_code: int = parsed.run(parsed)
        sys.stdout.flush()
        return exit_code
    except ArgumentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads has had enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python flushes the rest to at its end
        return 0
    except (MissingExtra, OSError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
