"""examples/train_digits.py, for a few epochs."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

from matplotlib import image

DEMO = pathlib.Path(__file__).parents[1] / "examples" / "train_digits.py"


def test_learns_with_the_plugin_as_with_stock_gradients(tmp_path: pathlib.Path) -> None:
    picture = tmp_path / "pictures" / "digits.png"
    run = subprocess.run(
        [sys.executable, DEMO, "--epochs", "5", "--output", picture],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert float(re.search(r"held-out accuracy ([\d.]+)% \(stock", run.stdout)[1]) > 96
    counted, steps = re.search(r"computed by the plugin: (.*)  \((\d+) steps of 3 convolutions", run.stdout).groups()
    assert sum(map(int, re.findall(r"\d+", counted))) == 3 * int(steps)
    assert float(re.search(r"stock training: (\S+) in a weight", run.stdout)[1]) < 1e-2
    assert image.imread(picture).std() > 0.05  # something is drawn
