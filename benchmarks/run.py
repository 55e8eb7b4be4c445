"""Compares filter gradients: this plugin, TensorFlow's V1 op, and PyTorch where it is installed.

    make bench                                              # about twenty-five minutes on two cores
    make bench ARGS="--model vgg16 unet --batch 32"

Writes results.json, tables.md, plots, and stderr.log with what the libraries said, into --output. The pages are
generated from what is in benchmarks/results/, where all models go; some of them, types, batches or threads go to
build/bench/. PyTorch and Matplotlib are optional: `.venv/bin/pip install torch matplotlib` adds that peer and the plots.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import machine
import report
from budget import Budget
from layers import MODELS, TINY, Layer
from results import (
    FOLDER,
    NAMES,
    Configuration,
    ConfigurationResult,
    LayerResult,
    Results,
    add_output_option,
    make_command,
    output_folder,
)
from worker import Task, Worker

DTYPES = ("float32", "bfloat16", "float64", "half")


def main() -> int:
    options = _parse_options()
    options.output.mkdir(parents=True, exist_ok=True)
    log = options.output / "stderr.log"
    log.unlink(missing_ok=True)
    work = _work(options)
    budget = Budget(options.budget_seconds, work)
    found = {configuration: ConfigurationResult(configuration, [], {}) for configuration, _ in work}
    workers = {threads: Worker(threads, log) for threads in dict.fromkeys(options.threads)}
    heading, ill = "", False
    for configuration, layer in work:
        part = found[configuration]
        previous, heading = heading, f"\n{configuration.model} {configuration.dtype}, batch {configuration.batch}"
        if heading != previous:
            print(heading, flush=True)
        until = budget.until(configuration, layer)
        if budget.spent:
            part.left_out[layer.name] = "no time was left"
            print(f"  {layer.name:12} left out: no time was left", flush=True)
            continue
        task = Task(layer, configuration.batch, configuration.dtype, options.repeat, until)
        try:
            result = workers[configuration.threads].measure(task)
        except RuntimeError as error:
            part.left_out[layer.name] = str(error)
            print(f"  {layer.name:12} left out: {error}", flush=True)
            ill = True
            continue
        part.layers.append(result)
        ill = ill or result.timings["plugin"].status != "measured"
        _print_layer(configuration, result)
    for worker in workers.values():
        worker.stop()

    results = Results(make_command("bench"), machine.describe(), time.monotonic() - budget.start, list(found.values()))
    results.save(options.output / "results.json")
    published = options.output.resolve() == FOLDER
    report.write(results, options.output, report.PAGE if published else None)
    if published:
        report.write_readme(results)
    print(f"\n{report.summary(results)}\nDetails: {options.output}", flush=True)
    return 1 if ill else 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=[*MODELS, *TINY], help="default: all")
    parser.add_argument(
        "--batch", nargs="+", type=_positive, help="images; default: 1, 8 and 32 for ResNet-50 in float32, otherwise 8"
    )
    parser.add_argument(
        "--dtype", nargs="+", choices=DTYPES, help="default: all of them for ResNet-50, float32 for the other models"
    )
    parser.add_argument("--threads", nargs="+", type=_threads, help="default: 1 all")
    parser.add_argument("--repeat", type=_positive, default=9, help="rounds per layer, at most; default: 9")
    parser.add_argument(
        "--budget-seconds",
        type=float,
        default=1500.0,
        help="for everything; default: 1500. Less time means fewer rounds, and in the end layers that are left out and "
        "listed as such",
    )
    add_output_option(parser)
    options = parser.parse_args()
    everything = not (options.model or options.batch or options.dtype or options.threads)
    options.output = output_folder(options, everything)
    options.model = options.model or list(MODELS)
    options.threads = options.threads or [1, _threads("all")]
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _threads(text: str) -> int:
    available = len(os.sched_getaffinity(0))
    value = available if text == "all" else _positive(text)
    if value > available:
        raise argparse.ArgumentTypeError(f"only {available} processors may be used")
    return value


def _work(options: argparse.Namespace) -> list[tuple[Configuration, Layer]]:
    """In the order of measuring: a layer on one thread and on all right after each other, so that they compare."""
    return [
        (Configuration(model, batch, dtype, threads), layer)
        for model in options.model
        for dtype in options.dtype or (DTYPES if model == "resnet50" else DTYPES[:1])
        for batch in options.batch or ((1, 8, 32) if (model, dtype) == ("resnet50", "float32") else (8,))
        for layer in {**MODELS, **TINY}[model]
        for threads in dict.fromkeys(options.threads)
    ]


def _print_layer(configuration: Configuration, layer: LayerResult) -> None:
    ours, peer, ratio = layer.seconds("plugin"), layer.best_peer, layer.ratio
    timing = layer.timings["plugin"]
    line = f"  {layer.name:12} {layer.shape:36} {configuration.threads:3} thr."
    if ours is None:
        line += f" {timing.status}: {timing.detail}"
    else:
        line += f" {1e3 * ours:9.2f} ms {layer.flops / ours / 1e9:7.1f} GFLOP/s"
    if ratio and peer:
        line += f" {ratio:6.2f}x {NAMES[peer]}"
    bad = [f"{NAMES[name]} {t.status}" for name, t in layer.timings.items() if t.status in ("failed", "wrong")]
    print(", ".join([line, *bad]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
