"""Every plan of every problem against the definition: error, repeatability, and staying within its memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from cases import SLICES, contract_problems, wide_problems
from device import DeviceProblem
from engine import Choice, Engine, EngineError
from problem import Problem, make_problem, reference, relative_error, tolerance
from report import Outcome


def _choices(engine: Engine, problem: Problem) -> Iterator[tuple[Choice, str]]:
    for tf32 in (True, False) if problem.dtype_name == "float32" else (False,):
        for index, plan in enumerate(engine.plans(problem, Choice(allow_tf32=tf32))):
            for slices in SLICES if plan["method"] != "zeros" else (0,):
                name = f"{plan['instance'] or plan['method']} tf32={tf32} slices={slices or plan['slices']}"
                yield Choice(allow_tf32=tf32, plan=index, slices=slices), name
            if problem.batch > 1 and plan["method"] != "zeros":
                yield Choice(allow_tf32=tf32, plan=index, slices=2, images_per_round=1), f"{plan['method']} in rounds"


def _check(engine: Engine, tensors: DeviceProblem, choice: Choice, expected: np.ndarray, outcome: Outcome) -> None:
    first, contained = tensors.launch(engine, choice)
    again, _ = tensors.launch(engine, choice)
    outcome.error = relative_error(first.double().cpu().numpy(), expected)
    if not contained:
        outcome.failure = "wrote outside its memory"
    elif not torch.equal(first.view(torch.uint8), again.view(torch.uint8)):
        outcome.failure = "two runs differ"
    elif not outcome.error <= outcome.allowed:
        outcome.failure = "error above the tolerance"


def check_problem(engine: Engine, problem: Problem) -> Iterator[Outcome]:
    tensors = DeviceProblem(problem)
    expected = reference(problem, *tensors.on_host())
    for choice, plan in _choices(engine, problem):
        allowed = tolerance(problem.dtype_name, bool(choice.allow_tf32))
        outcome = Outcome(problem.describe(), plan, float("nan"), allowed)
        try:
            _check(engine, tensors, choice, expected, outcome)
        except EngineError as error:
            outcome.failure = str(error)
        yield outcome


def check_non_finite(engine: Engine) -> Iterator[Outcome]:
    """Inf in a corner of dY reaches the taps that see X there, and no other."""
    for dtype in ("float16", "float32", "float64"):
        problem = make_problem(
            dtype, batch=2, size=(9, 9), filter_size=(3, 3), group_channels=(16, 16), padding=((1, 1), (1, 1))
        )
        tensors = DeviceProblem(problem)
        tensors.out_backprop[0, 0, 0, :] = float("inf")
        with np.errstate(invalid="ignore"):
            expected = reference(problem, *tensors.on_host())
        for choice, plan in _choices(engine, problem):
            actual, _ = tensors.launch(engine, choice)
            values = actual.double().cpu().numpy()
            same = np.array_equal(np.isnan(values), np.isnan(expected)) and np.array_equal(
                np.isinf(values), np.isinf(expected)
            )
            failure = "" if same else "Inf or NaN where the definition has none, or the reverse"
            yield Outcome("Inf in dY: " + problem.describe(), plan, 0.0, 0.0, failure)


def check_dispatch(engine: Engine) -> Iterator[Outcome]:
    """What TensorFlow's kernel calls, through the measuring phase and after it, with and without cuDNN."""
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for layout in ("NHWC", "NCHW"):
            problem = make_problem(
                dtype, batch=4, size=(14, 14), filter_size=(3, 3), group_channels=(32, 64), padding=((1, 1), (1, 1)),
                layout=layout,
            )  # fmt: skip
            tensors = DeviceProblem(problem)
            expected = reference(problem, *tensors.on_host())
            for use_cudnn in (False, True):
                for _ in range(40):
                    out = torch.empty(problem.filter_shape, dtype=tensors.dtype, device="cuda")
                    workspaces: list[torch.Tensor] = []

                    def allocate(count: int, workspaces: list[torch.Tensor] = workspaces) -> int:
                        workspaces.append(torch.empty(count, dtype=torch.uint8, device="cuda"))
                        return workspaces[-1].data_ptr()

                    ran = engine.compute(
                        problem, tensors.tensors(out.data_ptr()), allocate, allow_tf32=False, use_cudnn=use_cudnn
                    )
                    torch.cuda.synchronize()
                    error = relative_error(out.double().cpu().numpy(), expected)
                    allowed = tolerance(dtype, tf32=False)
                    failure = "" if error <= allowed else "error above the tolerance"
                    yield Outcome("dispatch: " + problem.describe(), ran, error, allowed, failure)


def run_all(engine: Engine) -> Iterator[Outcome]:
    for problem in [*contract_problems(), *wide_problems()]:
        yield from check_problem(engine, problem)
    yield from check_non_finite(engine)
    yield from check_dispatch(engine)


def run_subset(engine: Engine) -> Iterator[Outcome]:
    """Every kernel once or twice: what a sanitizer gets through in minutes."""
    problems = list(contract_problems())
    for problem in problems[:: max(1, len(problems) // 24)]:
        yield from check_problem(engine, problem)
