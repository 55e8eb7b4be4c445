"""Turns results into Markdown. As a program, writes the pages again from what is in benchmarks/results/."""

from __future__ import annotations

import itertools
import pathlib
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence

from layers import TITLES
from results import FOLDER, NAMES, ConfigurationResult, LayerResult, Results, geometric_mean
from training_results import Training, TrainingResults

ROOT = FOLDER.parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import sections

PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
PEERS = tuple(name for name in NAMES if name != "plugin")

_METHOD = """\
The plugin, TensorFlow and PyTorch compute a layer's filter gradient in turns, round after round in one process, so
that whatever slows the machine down slows all of them. A round also measures the peak: independent fused
multiply-adds in registers, in the arithmetic that suits the type best, on as many threads.

- Before it is timed, an implementation runs for 10 ms: its threads are awake then, as they are in training.
- Times are medians over the rounds, of which there are as many as the time allows: *rounds*. *x best peer* is how many
  times as fast as the fastest peer on that layer the plugin is: the median of the rounds' own ratios. Geometric means
  are over the distinct layers; *network* is the ratio of sums in which each layer counts as often as the network has it.
- GFLOP/s count the operations of the definition. Winograd's algorithm needs fewer, and nobody has to multiply by
  padding, so more than 100 % of the peak is possible. So it is where the machine was slower while it measured the peak
  than right before or after, which shows in direct 1 x 1 layers; those of one round are the least certain.
- All are called eagerly, as raw ops. The plugin is `Conv2DBackpropFilterV2`. TensorFlow is its V1 op, for depthwise
  layers `DepthwiseConv2dNativeBackpropFilter`, once with oneDNN and once with Eigen, of which TensorFlow uses one by
  default, depending on the processor. PyTorch is `aten::convolution_backward`, of NHWC on channels_last tensors.
- All read the same memory, NHWC but where NCHW is said, values drawn from a normal distribution. Padding is SAME: for Eigen, which oneDNN
  leaves no other, the same zeros as explicit paddings; for PyTorch, which pads both sides alike, what is missing on one
  is added to X beforehand. Every result has been checked against sums in float64; a wrong one would not be in the
  tables.
- With one thread the process is bound to one processor.

`make bench` repeats this, and `.venv/bin/python benchmarks/run.py --help` lists the options, which `make bench
ARGS="..."` passes on. PyTorch takes part where it is installed (`.venv/bin/pip install torch`); nothing else needs
it.
"""

_TRAINING_METHOD = """\
Each row is two trainings of one Keras model in one process, from the same weights and with the same batches, a step of
the one right after a step of the other: TensorFlow alone, and with `patch_tensorflow()`. *Kernels* are what both run:
TensorFlow's with oneDNN (`TF_ENABLE_ONEDNN_OPTS=1`, the default on processors with VNNI or AMX), with Eigen
(`TF_ENABLE_ONEDNN_OPTS=0`, the default on others), in steps compiled by `tf.function`; or what XLA makes of the whole
step. The patch changes the filter gradients alone, so that the rest of a step bounds what it can gain: with Eigen most of
it are the input gradients, which stay TensorFlow's. In bfloat16 TensorFlow uses oneDNN for a filter gradient on
processors with AVX-512 alone, so that on others the first two kernels are the same there. Times are medians over the
steps; the ratio is the median of the steps' own ratios. *Losses* are how far those of two steps are apart at most,
relatively: rounding, which grows from step to step.
"""


def write(results: Results, folder: pathlib.Path, page: pathlib.Path | None) -> None:
    """The tables and the plots into `folder`, and where a page is wanted, the page that shows both."""
    (folder / "tables.md").write_text(_text(_tables(results)))
    try:
        import plots
    except ImportError as error:
        print(f"no plots: {error}; pip install matplotlib", flush=True)
        images = []
    else:
        images = plots.draw(results, folder)
    if page:
        page.write_text(_text(_page(results, folder, page, [image.name for image in images])))


def write_readme(results: Results, readme: pathlib.Path = README) -> None:
    """The means and the least of batch 8, on one thread and on all."""
    sections.write(readme, "benchmarks/report.py", _text(_brief(results)))


def write_trainings_readme(results: TrainingResults, readme: pathlib.Path = README) -> None:
    sections.write(readme, "benchmarks/training.py", _text(training_table(results.trainings)))


def write_training(results: TrainingResults, folder: pathlib.Path) -> None:
    (folder / "training.md").write_text(_text(_training(results)))


def training_table(trainings: Iterable[Training]) -> list[str]:
    """One row for each training, as a Markdown table."""
    header = ["model", "images", "batch", "type", "kernels", "steps", "TensorFlow, s", "plugin, s", "ratio", "losses"]
    rows = []
    for training in trainings:
        title = TITLES[training.model].partition(",")[0]
        row = [title, f"{training.size}x{training.size}", str(training.batch), training.policy, training.kernels]
        if training.stock and training.plugin:
            seconds = [f"{statistics.median(steps.seconds):.3f}" for steps in (training.stock, training.plugin)]
            row += [
                str(len(training.stock.seconds)),
                *seconds,
                f"{training.ratio:.2f}",
                f"{training.loss_difference:.1e}",
            ]
        else:
            row += ["0", training.failure, "-", "-", "-"]
        rows.append(row)
    return _table(header, rows)


def summary(results: Results) -> str:
    """One row for each configuration, as a Markdown table."""
    header = ["model", "type", "batch", "threads", "layers", "x best peer", "least", "network"]
    rows = []
    for part in results.configurations:
        compared = [layer for layer in part.layers if layer.ratio is not None]
        least = min(compared, key=lambda layer: layer.ratio or 0.0, default=None)
        rows.append(
            [
                *_configuration_cells(part),
                _count(part),
                _times(geometric_mean(layer.ratio for layer in compared)),
                f"{_times(least.ratio)} ({least.name})" if least else "-",
                _times(_network_ratio(compared)),
                *(_times(geometric_mean(layer.ratio_to(peer) for layer in part.layers)) for peer in PEERS),
                _percent(geometric_mean(layer.of_peak for layer in part.layers)),
            ]
        )
    return "\n".join(_table([*header, *(f"x {NAMES[peer]}" for peer in PEERS), "of peak"], rows))


def _page(results: Results, folder: pathlib.Path, page: pathlib.Path, images: Sequence[str]) -> Iterator[str]:
    link = pathlib.PurePath("..") / folder.resolve().relative_to(page.resolve().parents[1])
    yield "# Performance"
    yield ""
    yield f"Generated by `{results.command}` in {results.seconds / 60:.0f} minutes. Do not edit; run it again."
    yield ""
    yield from (f"- {what}: {found}" for what, found in results.machine.items())
    yield from _peaks(results)
    yield ""
    yield "## Summary"
    yield ""
    yield summary(results)
    yield ""
    yield from (f"![x best peer]({link / image})\n" for image in images if image == "summary.png")
    yield from _scaling(results)
    if (folder / "training.json").exists():
        yield "## Training"
        yield ""
        yield from _training(TrainingResults.load(folder / "training.json"))
    yield "## How it is measured"
    yield ""
    yield _METHOD
    yield from _errors(results)
    yield "## Layers"
    yield ""
    yield f"Milliseconds are in [tables.md]({link / 'tables.md'}), and every sample in results.json beside it."
    yield ""
    for parts in _by_threads(results):
        first = parts[0].configuration
        yield from _heading(parts[0], threads=False)
        image = f"{first.model}_{first.dtype}_{first.batch}.png"
        if image in images:
            yield f"![GFLOP/s]({link / image})"
            yield ""
        yield from _comparison(parts)
    yield from _not_measured(results)


def _brief(results: Results) -> Iterator[str]:
    grouped = [parts for parts in _by_threads(results) if parts[0].configuration.batch == 8]
    threads = [part.configuration.threads for part in grouped[0]]
    header = ["layers", "type", *(f"{column}, {_count_threads(n)}" for n in threads for column in ("mean", "least"))]
    rows = []
    for parts in grouped:
        title, dtype, *_ = _configuration_cells(parts[0])
        # What was left out of one column must not differ from another's.
        names = set.intersection(*({layer.name for layer in part.layers} for part in parts))
        if any(part.left_out for part in parts):
            title += f" ({len(names)} of {len(parts[0].layers) + len(parts[0].left_out)} layers)"
        ratios = [
            [layer.ratio for layer in part.layers if layer.name in names and layer.ratio is not None] for part in parts
        ]
        rows.append([title, dtype, *(_times(x) for of in ratios for x in (geometric_mean(of), min(of, default=None)))])
    yield from _table(header, rows)


def _tables(results: Results) -> Iterator[str]:
    yield f"Generated by `{results.command}`. Milliseconds; the last column is the ratio to the fastest peer."
    yield ""
    for part in results.configurations:
        yield from _heading(part, threads=True)
        rows = [
            [
                layer.name,
                layer.shape,
                layer.algorithm,
                *(_milliseconds(layer, name) for name in NAMES),
                _gflops(layer),
                _percent(layer.of_peak),
                _times(layer.ratio),
            ]
            for layer in part.layers
        ]
        yield from _table(["layer", "shape", "algorithm", *NAMES.values(), "GFLOP/s", "of peak", "x best peer"], rows)
        yield ""
    yield from _not_measured(results)


def _training(results: TrainingResults) -> Iterator[str]:
    yield f"Generated by `{results.command}` in {results.seconds / 60:.0f} minutes."
    yield ""
    yield from (f"- {what}: {found}" for what, found in results.machine.items())
    yield ""
    yield from training_table(results.trainings)
    yield ""
    yield _TRAINING_METHOD


def _comparison(parts: Sequence[ConfigurationResult]) -> Iterator[str]:
    """Layers of one model, once per number of threads, side by side."""
    header = ["layer", "shape", "algorithm"]
    for part in parts:
        threads = _threads(part)
        header += [f"GFLOP/s, {threads}", f"of peak, {threads}", f"x best peer, {threads}"]
    header.append("rounds")
    by_name = [{layer.name: layer for layer in part.layers} for part in parts]
    rows = []
    for name in dict.fromkeys(name for layers in by_name for name in layers):
        found = [layers.get(name) for layers in by_name]
        any_layer = next(layer for layer in found if layer)
        rounds = min(len(layer.timings["plugin"].seconds) for layer in found if layer)
        cells = ([_gflops(x), _percent(x.of_peak), _times(x.ratio)] if x else ["-"] * 3 for x in found)
        rows.append([name, any_layer.shape, any_layer.algorithm, *itertools.chain.from_iterable(cells), str(rounds)])
    yield from _table(header, rows)
    yield ""


def _scaling(results: Results) -> Iterator[str]:
    rows = []
    for parts in _by_threads(results):
        one, *more = sorted(parts, key=lambda part: part.configuration.threads)
        alone = {layer.name: layer for layer in one.layers}
        for part in more:
            pairs = [(alone[layer.name], layer) for layer in part.layers if layer.name in alone]
            speedups = {few.name: few.ratio_of_seconds(many) for few, many in pairs}
            known = {name: speedup for name, speedup in speedups.items() if speedup}
            if not known or one.configuration.threads != 1:
                continue
            least = min(known, key=known.__getitem__)
            peak = geometric_mean(few.ratio_of_peaks(many) for few, many in pairs)
            cells = [_times(geometric_mean(known.values())), f"{_times(known[least])} ({least})", _times(peak)]
            rows.append([*_configuration_cells(part), *cells])
    if rows:
        yield "How many times as fast the plugin is as on one thread, which was measured right before, layer by layer:"
        yield ""
        yield from _table(["model", "type", "batch", "threads", "geometric mean", "least", "the peak itself"], rows)
        yield ""


def _errors(results: Results) -> Iterator[str]:
    yield "Largest relative error (L2, estimated) of each type:"
    yield ""
    largest: dict[str, dict[str, float]] = {}
    for part in results.configurations:
        of_type = largest.setdefault(part.configuration.dtype, {})
        for layer in part.layers:
            for name, timing in layer.timings.items():
                if timing.status == "measured" and timing.error is not None:
                    of_type[name] = max(of_type.get(name, 0.0), timing.error)
    rows = [
        [dtype, *(f"{of_type[name]:.1e}" if name in of_type else "-" for name in NAMES)]
        for dtype, of_type in largest.items()
    ]
    yield from _table(["type", *NAMES.values()], rows)
    yield ""


def _not_measured(results: Results) -> Iterator[str]:
    """By reason, then by configuration."""
    found: dict[str, dict[str, list[str]]] = {}
    sizes = {str(part.configuration): len(part.layers) + len(part.left_out) for part in results.configurations}
    for part in results.configurations:
        where = str(part.configuration)
        for name, reason in part.left_out.items():
            found.setdefault(f"All, left out: {reason}", {}).setdefault(where, []).append(name)
        for layer in part.layers:
            for name, timing in layer.timings.items():
                if timing.status != "measured":
                    detail = re.sub(r"\d+", "N", timing.detail) if timing.status == "unsupported" else timing.detail
                    reason = f"{NAMES[name]}, {timing.status}: {' '.join(detail.split())[:200]}"
                    found.setdefault(reason, {}).setdefault(where, []).append(layer.name)
    if found:
        yield "## Not measured"
        yield ""
        for reason, places in found.items():
            yield f"- {reason}"
            for where, names in places.items():
                yield f"  - {where}: {'every layer' if len(names) == sizes[where] else ', '.join(names)}"
        yield ""


def _peaks(results: Results) -> Iterator[str]:
    """How much the machine itself gave, from its worst moment to its best."""
    measured: dict[tuple[str, int], list[float]] = {}
    for part in results.configurations:
        key = (part.configuration.dtype, part.configuration.threads)
        measured.setdefault(key, []).extend(peak for layer in part.layers for peak in layer.peak_flops)
    ranges = [
        f"{dtype} {_count_threads(threads)} {min(peaks) / 1e9:.0f} to {max(peaks) / 1e9:.0f}"
        for (dtype, threads), peaks in measured.items()
        if peaks
    ]
    if ranges:
        yield f"- measured peak, GFLOP/s: {'; '.join(ranges)}"


def _by_threads(results: Results) -> list[list[ConfigurationResult]]:
    """Configurations that differ in nothing else."""
    grouped: dict[tuple[str, str, int], list[ConfigurationResult]] = {}
    for part in results.configurations:
        same = part.configuration
        grouped.setdefault((same.model, same.dtype, same.batch), []).append(part)
    return list(grouped.values())


def _network_ratio(layers: Sequence[LayerResult]) -> float | None:
    """Each layer by its best peer, against each layer by the plugin."""
    theirs = sum(layer.count * (layer.seconds(layer.best_peer or "") or 0.0) for layer in layers)
    ours = sum(layer.count * (layer.seconds("plugin") or 0.0) for layer in layers)
    return theirs / ours if ours else None


def _heading(part: ConfigurationResult, threads: bool) -> list[str]:
    shown = part.configuration
    heading = f"### {TITLES.get(shown.model, shown.model)}, {shown.dtype}, batch {shown.batch}"
    return [heading + (f", {_threads(part)}" if threads else ""), ""]


def _configuration_cells(part: ConfigurationResult) -> list[str]:
    shown = part.configuration
    return [TITLES.get(shown.model, shown.model), shown.dtype, str(shown.batch), str(shown.threads)]


def _count(part: ConfigurationResult) -> str:
    measured = len(part.layers)
    return f"{measured} of {measured + len(part.left_out)}" if part.left_out else str(measured)


def _threads(part: ConfigurationResult) -> str:
    return _count_threads(part.configuration.threads)


def _count_threads(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def _milliseconds(layer: LayerResult, name: str) -> str:
    seconds = layer.seconds(name)
    if seconds is None:
        status = layer.timings[name].status
        return "-" if status == "unsupported" else status
    return f"{1e3 * seconds:.2f}"


def _gflops(layer: LayerResult) -> str:
    seconds = layer.seconds("plugin")
    return f"{layer.flops / seconds / 1e9:.1f}" if seconds else layer.timings["plugin"].status


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.0f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    results = Results.load(FOLDER / "results.json")
    write(results, FOLDER, PAGE)
    write_readme(results)
    write_trainings_readme(TrainingResults.load(FOLDER / "training.json"))


if __name__ == "__main__":
    main()
