"""Every plan of every problem against the definition: error, repeatability, and staying within its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from cases import SLICES
from device import DeviceProblem, Gpu, Host
from engine import Choice, Engine, EngineError
from problem import DTYPES, LAYOUTS, Problem, make_problem, reference, relative_error, tolerance
from report import Outcome

# More than the measured turns of all candidates, so that the last calls are the tuner's choice.
_DISPATCHED_CALLS = 40


def _choices(engine: Engine, problem: Problem) -> Iterator[tuple[Choice, str]]:
    for tf32 in (True, False) if problem.dtype_name == "float32" else (False,):
        for index, plan in enumerate(engine.plans(problem, Choice(allow_tf32=tf32))):
            for slices in SLICES if plan["method"] != "zeros" else (0,):
                name = f"{plan['instance'] or plan['method']} tf32={tf32} slices={slices or plan['slices']}"
                yield Choice(allow_tf32=tf32, plan=index, slices=slices), name
            if problem.batch > 1 and plan["method"] != "zeros":
                yield Choice(allow_tf32=tf32, plan=index, slices=2, images_per_round=1), f"{plan['method']} in rounds"


def _outcome(case: str, plan: str, allowed: float, check: Callable[[], tuple[float, str]]) -> Outcome:
    """`check` returns the error, and what else is wrong."""
    try:
        error, failure = check()
    except EngineError as failed:
        return Outcome(case, plan, None, allowed, str(failed))
    if not failure and not error <= allowed:
        failure = "error above the tolerance"
    return Outcome(case, plan, error if np.isfinite(error) else None, allowed, failure)


def check_problem(engine: Engine, device: Gpu | Host, problem: Problem) -> Iterator[Outcome]:
    tensors = DeviceProblem(problem, device)
    expected = reference(problem, *tensors.on_host())

    def check(choice: Choice) -> tuple[float, str]:
        first, contained = tensors.launch(engine, choice)
        again, _ = tensors.launch(engine, choice)
        failure = ""
        if not contained:
            failure = "wrote outside its memory"
        elif not torch.equal(first.view(torch.uint8), again.view(torch.uint8)):
            failure = "two runs differ"
        return relative_error(first.double().cpu().numpy(), expected), failure

    for choice, plan in _choices(engine, problem):
        allowed = tolerance(problem.dtype_name, bool(choice.allow_tf32))
        yield _outcome(problem.describe(), plan, allowed, lambda choice=choice: check(choice))


def check_non_finite(engine: Engine, device: Gpu | Host) -> Iterator[Outcome]:
    """Inf in a corner of dY reaches the taps that see X there, and no other."""
    for dtype in DTYPES:
        problem = make_problem(
            dtype, batch=2, size=(9, 9), filter_size=(3, 3), group_channels=(16, 16), padding=((1, 1), (1, 1))
        )
        tensors = DeviceProblem(problem, device)
        tensors.out_backprop[0, 0, 0, :] = float("inf")
        with np.errstate(invalid="ignore"):
            expected = reference(problem, *tensors.on_host())

        def check(
            choice: Choice, tensors: DeviceProblem = tensors, expected: np.ndarray = expected
        ) -> tuple[float, str]:
            values = tensors.launch(engine, choice)[0].double().cpu().numpy()
            same = np.array_equal(np.isnan(values), np.isnan(expected)) and np.array_equal(
                np.isinf(values), np.isinf(expected)
            )
            return 0.0, "" if same else "Inf or NaN where the definition has none, or the reverse"

        for choice, plan in _choices(engine, problem):
            yield _outcome("Inf in dY: " + problem.describe(), plan, 0.0, lambda c=choice, check=check: check(c))


def check_dispatch(engine: Engine, device: Gpu | Host) -> Iterator[Outcome]:
    """What TensorFlow's kernel calls, through the measuring phase and after it, with and without cuDNN."""
    for dtype in DTYPES:
        for layout in LAYOUTS:
            problem = make_problem(
                dtype, batch=2, size=(8, 8), filter_size=(3, 3), group_channels=(16, 32), padding=((1, 1), (1, 1)),
                layout=layout,
            )  # fmt: skip
            tensors = DeviceProblem(problem, device)
            expected = reference(problem, *tensors.on_host())
            for use_cudnn in (False, True):
                for _ in range(_DISPATCHED_CALLS):
                    yield _dispatched(engine, tensors, expected, use_cudnn)


def _dispatched(engine: Engine, tensors: DeviceProblem, expected: np.ndarray, use_cudnn: bool) -> Outcome:
    ran = f"dispatch, use_cudnn={use_cudnn}"

    def check() -> tuple[float, str]:
        nonlocal ran
        out = tensors.empty_result()
        ran = tensors.compute(engine, out, allow_tf32=False, use_cudnn=use_cudnn)
        tensors.device.synchronize()
        return relative_error(out.double().cpu().numpy(), expected), ""

    problem = tensors.problem
    outcome = _outcome("dispatch: " + problem.describe(), ran, tolerance(problem.dtype_name, tf32=False), check)
    outcome.plan = ran
    return outcome


def run_all(engine: Engine, device: Gpu | Host, problems: Iterable[Problem]) -> Iterator[Outcome]:
    for problem in problems:
        yield from check_problem(engine, device, problem)
    yield from check_non_finite(engine, device)
    yield from check_dispatch(engine, device)
