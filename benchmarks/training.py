"""Compares training steps: with TensorFlow's own filter gradients, and with this plugin's.

    make bench-training                                        # about three quarters of an hour on two cores
    make bench-training ARGS="--model unet --seconds 20"

Runs examples/train_resnet.py for each model in float32 and mixed_bfloat16, on TensorFlow's kernels with oneDNN and with
Eigen and compiled by XLA, each in a process of its own that may use all processors. Writes training.json and training.md
into --output, by default build/bench/, and for all trainings benchmarks/results/; what is there is shown by
docs/performance.md and the README.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import machine
import report
from results import FOLDER, add_output_option, make_command, output_folder
from training_results import Steps, Training, TrainingResults

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "train_resnet.py"
# The example's model, size of the images, and batch.
MODELS = {"resnet50_96": ("resnet50", 96, 16), "resnet50_224": ("resnet50", 224, 8), "unet": ("unet", 96, 8)}
# One that takes no time, to try this with.
TINY = {"tiny": ("unet", 8, 1)}
POLICIES = ("float32", "mixed_bfloat16")
# With the environment that chooses them. By default TensorFlow takes oneDNN on processors with VNNI or AMX, Eigen on
# others.
KERNELS = {"oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"}, "Eigen": {"TF_ENABLE_ONEDNN_OPTS": "0"}, "XLA": {}}
# For loading, tracing and compiling, twice, and for the steps that are under way when the time is up.
_PATIENCE_SECONDS = 900.0


def main() -> int:
    options = _parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    trainings = []
    for model, policy, kernels in itertools.product(options.model, options.policy, KERNELS):
        trainings.append(_train(Training(*{**MODELS, **TINY}[model], policy, kernels), options))
        print("\n".join(report.training_table(trainings)[-1:]), flush=True)
    results = TrainingResults(make_command("bench-training"), machine.describe(), time.monotonic() - start, trainings)
    results.save(options.output / "training.json")
    report.write_training(results, options.output)
    if options.output.resolve() == FOLDER:
        report.main()
    return 1 if any(training.failure for training in trainings) else 0


def _train(training: Training, options: argparse.Namespace) -> Training:
    """`training`, with its steps or the reason why it has none."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "steps.json"
        arguments = {
            "--model": training.model,
            "--size": training.size,
            "--batch": training.batch,
            "--policy": training.policy,
            "--steps": options.steps,
            "--seconds": options.seconds,
            "--output": output,
        }
        command = [sys.executable, EXAMPLE, *map(str, itertools.chain.from_iterable(arguments.items()))]
        command += ["--xla"] if training.kernels == "XLA" else []
        try:
            subprocess.run(
                command,
                check=True,
                timeout=options.seconds + _PATIENCE_SECONDS,
                capture_output=True,
                text=True,
                env={**os.environ, **KERNELS[training.kernels]},
            )
        except subprocess.TimeoutExpired as error:
            return dataclasses.replace(training, failure=f"did not end within {error.timeout:.0f} seconds")
        except subprocess.CalledProcessError as error:
            last_line = error.stderr.strip().rpartition("\n")[2]
            return dataclasses.replace(training, failure=f"ended with status {error.returncode}: {last_line[:200]}")
        steps = json.loads(output.read_text())
    return dataclasses.replace(training, stock=Steps(**steps["stock"]), plugin=Steps(**steps["plugin"]))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=[*MODELS, *TINY], help="default: all")
    parser.add_argument("--policy", nargs="+", choices=POLICIES, help="default: both")
    parser.add_argument("--steps", type=int, default=20, help="of each training, at most; default: 20")
    parser.add_argument("--seconds", type=float, default=90.0, help="time for the steps of each; default: 90")
    add_output_option(parser)
    options = parser.parse_args()
    everything = not (options.model or options.policy)
    options.output = output_folder(options, everything)
    options.model = options.model or list(MODELS)
    options.policy = options.policy or POLICIES
    return options


if __name__ == "__main__":
    sys.exit(main())
