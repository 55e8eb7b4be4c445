"""Draws results: one picture for each model, type and batch, and one of all ratios."""

from __future__ import annotations

import math
import pathlib
import statistics
from typing import Any

import matplotlib

matplotlib.use("Agg")
from layers import TITLES
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter
from results import NAMES, ConfigurationResult, Results, geometric_mean

_COLORS = {
    "plugin": "#1b5fc1",
    "tensorflow_onednn": "#f28e2b",
    "tensorflow_eigen": "#f9cf9c",
    "torch": "#9c9c9c",
}
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "savefig.dpi": 130,
}


def draw(results: Results, folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files that it wrote."""
    by_model: dict[str, list[ConfigurationResult]] = {}
    for part in results.configurations:
        if part.layers:
            shown = part.configuration
            by_model.setdefault(f"{shown.model}_{shown.dtype}_{shown.batch}", []).append(part)
    with plt.rc_context(_STYLE):
        files = [_draw_layers(parts, folder / f"{name}.png") for name, parts in by_model.items()]
        compared = {name: parts for name, parts in by_model.items() if any(_ratios(part) for part in parts)}
        if compared:
            files.append(_draw_ratios(list(compared.values()), folder / "summary.png"))
    return files


def _draw_layers(parts: list[ConfigurationResult], file: pathlib.Path) -> pathlib.Path:
    """Speed of every implementation on every layer, one panel for each number of threads."""
    count = max(len(part.layers) for part in parts)
    figure, panels = plt.subplots(
        len(parts),
        1,
        figsize=(max(6.5, 1.5 + 0.52 * count), 0.9 + 2.7 * len(parts)),
        squeeze=False,
        layout="constrained",
    )
    for part, axes in zip(parts, panels[:, 0], strict=True):
        shown = [name for name in NAMES if any(layer.seconds(name) for layer in part.layers)]
        width = 0.84 / max(1, len(shown))
        for index, name in enumerate(shown):
            places = [i + (index - (len(shown) - 1) / 2) * width for i in range(len(part.layers))]
            speeds = [layer.flops / s / 1e9 if (s := layer.seconds(name)) else 0.0 for layer in part.layers]
            axes.bar(places, speeds, width, color=_COLORS[name], label=NAMES[name])
        for i, layer in enumerate(part.layers):
            if layer.peak_flops:
                peak = statistics.median(layer.peak_flops) / 1e9
                label = "peak of fused multiply-adds" if i == 0 else None
                axes.hlines(peak, i - 0.47, i + 0.47, colors="#222222", linewidth=1.2, label=label)
        names = [layer.name for layer in part.layers]
        slanted = max(map(len, names), default=0) > 6
        axes.set_xticks(range(len(names)), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.grid(axis="x", visible=False)
        threads = part.configuration.threads
        axes.set_ylabel(f"GFLOP/s, {threads} thread{'s' if threads > 1 else ''}")
    shown_configuration = parts[0].configuration
    title = TITLES.get(shown_configuration.model, shown_configuration.model)
    figure.suptitle(f"{title}, {shown_configuration.dtype}, batch {shown_configuration.batch}", weight="bold")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3 if count < 8 else 5, len(labels)))
    figure.savefig(file)
    plt.close(figure)
    return file


def _draw_ratios(groups: list[list[ConfigurationResult]], file: pathlib.Path) -> pathlib.Path:
    """Every layer a dot, every geometric mean a bar through them."""
    rows = [part for parts in groups for part in parts if _ratios(part)]
    figure, axes = plt.subplots(figsize=(8.5, 1.3 + 0.3 * len(rows)), layout="constrained")
    single = "#7fb0ee"
    for place, part in enumerate(rows):
        ratios = _ratios(part)
        color = single if part.configuration.threads == 1 else _COLORS["plugin"]
        axes.scatter(ratios, [place] * len(ratios), s=16, color=color, alpha=0.65, linewidths=0)
        mean = geometric_mean(ratios) or math.nan
        axes.vlines(mean, place - 0.38, place + 0.38, color="#111111", linewidth=2.2)
        axes.annotate(f"{mean:.2f}x", (1.01, place), xycoords=("axes fraction", "data"), va="center")
    axes.axvline(1, color="#c0392b", linewidth=1)
    axes.set_xscale("log", base=2)
    lowest, highest = axes.get_xlim()
    exponents = range(math.floor(math.log2(lowest)), math.ceil(math.log2(highest)) + 1)
    axes.set_xticks([2.0**exponent for exponent in exponents if lowest <= 2.0**exponent <= highest])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [_row_label(part) for part in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times as fast as the best peer; a dot for each layer, a bar for the geometric mean")
    figure.savefig(file)
    plt.close(figure)
    return file


def _ratios(part: ConfigurationResult) -> list[float]:
    return [ratio for layer in part.layers if (ratio := layer.ratio) is not None]


def _row_label(part: ConfigurationResult) -> str:
    shown = part.configuration
    threads = f"{shown.threads} thread{'s' if shown.threads > 1 else ''}"
    return f"{TITLES.get(shown.model, shown.model)}, {shown.dtype}, batch {shown.batch}, {threads}"
