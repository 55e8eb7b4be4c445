"""Every plan of every problem against the definition: error, repeatability, and staying within its memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from cases import CLUSTERED_SLICES, SLICES, captured_problems, dispatched_problems, non_finite_problems
from device import DeviceProblem, Gpu, Host, is_lost
from engine import Choice, Engine
from problem import DTYPES, LAYOUTS, Problem, reference, relative_error, tolerance
from report import Outcome, first_line

# More than the measured turns of all candidates, so that the last calls are the tuner's choice.
_DISPATCHED_CALLS = 100


class DeviceLostError(Exception):
    """A fault that no later call of the process survives."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.failure}: {outcome.case}, {outcome.plan}")
        self.outcome = outcome


def _arithmetics(dtype: str) -> tuple[bool, ...]:
    """Whether float32 may be rounded to tf32: both."""
    return (True, False) if dtype == "float32" else (False,)


_ARITHMETICS = [(dtype, tf32) for dtype in DTYPES for tf32 in _arithmetics(dtype)]


@dataclasses.dataclass(frozen=True)
class _Run:
    """One way to run a problem; as text it begins with the kernel."""

    choice: Choice
    kernel: str
    way: str  # of using the kernel: two runs of one kernel in one way execute the same code
    slices: int
    allowed: float  # the error that it may make

    def __str__(self) -> str:
        return " ".join(
            filter(None, (self.kernel, f"tf32={bool(self.choice.allow_tf32)} slices={self.slices}", self.way))
        )


def _runs(engine: Engine, problem: Problem) -> Iterator[_Run]:
    for tf32 in _arithmetics(problem.dtype_name):
        allowed = tolerance(problem.dtype_name, tf32)
        seen = set()
        for index, plan in enumerate(engine.plans(problem, Choice(allow_tf32=tf32))):
            kernel = plan["instance"] or plan["method"]
            another_split = kernel in seen
            seen.add(kernel)
            splits = [(0, 0)]
            if plan["method"] != "zeros" and not another_split:
                splits = [(slices, 0) for slices in SLICES]
                splits += CLUSTERED_SLICES if "Wgmma" in kernel else ()
            for slices, clusters in splits:
                way = ("", "in clusters", "without clusters")[clusters]
                # The error of a sum grows with the square root of its length, which the planner bounds.
                longer = max(1.0, plan["slices"] / slices) if slices else 1.0
                choice = Choice(allow_tf32=tf32, plan=index, slices=slices, clusters=clusters)
                yield _Run(choice, kernel, way, slices or plan["slices"], allowed * longer**0.5)
            if problem.batch > 1 and plan["method"] != "zeros" and not another_split:
                choice = Choice(allow_tf32=tf32, plan=index, slices=2, images_per_round=1)
                yield _Run(choice, kernel, "in rounds", 2, allowed)


def _outcome(
    device: Gpu | Host, case: str, plan: str, allowed: float, check: Callable[[], tuple[float, str]]
) -> Outcome:
    """`check` returns the error, and what else is wrong."""
    try:
        error, failure = check()
    except RuntimeError as failed:  # the engine's errors and PyTorch's, among them faults of kernels
        outcome = Outcome(case, plan, None, allowed, first_line(failed))
        if is_lost(device):
            raise DeviceLostError(outcome) from failed
        return outcome
    if not failure and not error <= allowed:
        failure = "error above the tolerance"
    return Outcome(case, plan, error if np.isfinite(error) else None, allowed, failure)


def _checks(engine: Engine, device: Gpu | Host, problem: Problem) -> Iterator[tuple[_Run, Callable[[], Outcome]]]:
    """Every way to run a problem, and what does so."""
    tensors = DeviceProblem(problem, device)
    expected = reference(problem, *tensors.on_host())

    def check(run: _Run) -> tuple[float, str]:
        first, contained = tensors.launch(engine, run.choice)
        again, _ = tensors.launch(engine, run.choice)
        failure = ""
        if not contained:
            failure = "wrote outside its memory"
        elif not torch.equal(first.view(torch.uint8), again.view(torch.uint8)):
            failure = "two runs differ"
        return relative_error(first.double().cpu().numpy(), expected), failure

    for run in _runs(engine, problem):
        yield run, lambda r=run: _outcome(device, problem.describe(), str(r), r.allowed, lambda: check(r))


def check_problem(engine: Engine, device: Gpu | Host, problem: Problem) -> Iterator[Outcome]:
    for _, check in _checks(engine, device, problem):
        yield check()


def _with_inf(problem: Problem, device: Gpu | Host) -> tuple[DeviceProblem, np.ndarray]:
    """Tensors with Inf in a corner of dY, which reaches the taps that see X there, and no other; and the result."""
    tensors = DeviceProblem(problem, device)
    corner = (0, 0, 0, slice(None)) if LAYOUTS[problem.layout] == "NHWC" else (-1, slice(None), -1, -1)
    tensors.out_backprop[corner] = float("inf")
    with np.errstate(invalid="ignore"):
        return tensors, reference(problem, *tensors.on_host())


def _places_differ(out: torch.Tensor, expected: np.ndarray) -> str:
    values = out.double().cpu().numpy()
    same = np.array_equal(np.isnan(values), np.isnan(expected)) and np.array_equal(np.isinf(values), np.isinf(expected))
    return "" if same else "Inf or NaN where the definition has none, or the reverse"


def check_non_finite(engine: Engine, device: Gpu | Host) -> Iterator[Outcome]:
    """Inf and NaN are where the definition puts them, from every plan."""
    for problem in non_finite_problems():
        tensors, expected = _with_inf(problem, device)

        def check(
            choice: Choice, tensors: DeviceProblem = tensors, expected: np.ndarray = expected
        ) -> tuple[float, str]:
            return 0.0, _places_differ(tensors.launch(engine, choice)[0], expected)

        case = "Inf in dY: " + problem.describe()
        for run in _runs(engine, problem):
            yield _outcome(device, case, str(run), 0.0, lambda c=run.choice, check=check: check(c))


def check_dispatched_non_finite(engine: Engine, device: Gpu | Host, use_cudnn: bool) -> Iterator[Outcome]:
    """And from whatever takes a turn."""
    for problem, tf32 in itertools.product(non_finite_problems(), (True, False)):
        tensors, expected = _with_inf(problem, device)
        out = tensors.empty_result()

        def check(
            tensors: DeviceProblem = tensors,
            expected: np.ndarray = expected,
            out: torch.Tensor = out,
            tf32: bool = tf32,
        ) -> tuple[float, str]:
            tensors.compute(engine, out, allow_tf32=tf32, use_cudnn=use_cudnn)
            device.synchronize()
            return 0.0, _places_differ(out, expected)

        case = f"dispatch, Inf in dY: {problem.describe()}"
        for _ in range(_DISPATCHED_CALLS):
            yield _outcome(device, case, f"tf32={tf32} use_cudnn={use_cudnn}", 0.0, check)


def check_dispatch(
    engine: Engine, device: Gpu | Host, problem: Problem, tf32: bool, use_cudnn: bool
) -> Iterator[Outcome]:
    """What TensorFlow's kernel calls, through the measuring phase and after it."""
    tensors = DeviceProblem(problem, device)
    expected = reference(problem, *tensors.on_host())
    for _ in range(_DISPATCHED_CALLS):
        yield _dispatched(engine, tensors, expected, tf32, use_cudnn)


def _dispatched(engine: Engine, tensors: DeviceProblem, expected: np.ndarray, tf32: bool, use_cudnn: bool) -> Outcome:
    ran = f"tf32={tf32} use_cudnn={use_cudnn}"

    def check() -> tuple[float, str]:
        nonlocal ran
        out = tensors.empty_result()
        ran = tensors.compute(engine, out, allow_tf32=tf32, use_cudnn=use_cudnn)
        tensors.device.synchronize()
        return relative_error(out.double().cpu().numpy(), expected), ""

    problem = tensors.problem
    allowed = tolerance(problem.dtype_name, tf32)
    outcome = _outcome(tensors.device, "dispatch: " + problem.describe(), ran, allowed, check)
    outcome.plan = ran
    return outcome


def check_captured(engine: Engine, device: Gpu | Host, problem: Problem, use_cudnn: bool) -> Iterator[Outcome]:
    """Captured into a graph before and after the measuring phase, and replayed twice with the same bits."""
    tensors = DeviceProblem(problem, device)
    expected = reference(problem, *tensors.on_host())
    out = tensors.empty_result()

    def compute() -> str:
        return tensors.compute(engine, out, allow_tf32=True, use_cudnn=use_cudnn)

    def check() -> tuple[float, str]:
        replay = device.capture(compute)
        replays = []
        for _ in range(2):
            out.fill_(float("nan"))
            replay()
            device.synchronize()
            replays.append(out.clone())
        same = torch.equal(*(each.view(torch.uint8) for each in replays))
        return relative_error(out.double().cpu().numpy(), expected), "" if same else "two replays differ"

    for when in ("before", "after"):
        case = f"a graph captured {when} measuring: {problem.describe()}"
        yield _outcome(device, case, f"use_cudnn={use_cudnn}", tolerance(problem.dtype_name, tf32=True), check)
        for _ in range(_DISPATCHED_CALLS):
            compute()


def check_cudnn(engine: Engine, device: Gpu) -> Iterator[Outcome]:
    """The dispatch with cuDNN among the candidates, which must have its turns wherever PyTorch has it."""
    for dtype, tf32 in _ARITHMETICS:
        ran = set()
        for layout in LAYOUTS:
            for problem in dispatched_problems(dtype, layout):
                for outcome in check_dispatch(engine, device, problem, tf32, use_cudnn=True):
                    ran.add(outcome.plan)
                    yield outcome
        missing = torch.backends.cudnn.is_available() and "cudnn" not in ran
        yield Outcome(f"{dtype} tf32={tf32}: cuDNN has turns", "cudnn", 0.0, 0.0, "it never ran" if missing else "")


def run_kernels(engine: Engine, device: Gpu | Host, problems: Iterable[Problem]) -> Iterator[Outcome]:
    """The engine's own kernels, one by one."""
    for problem in problems:
        yield from check_problem(engine, device, problem)
    yield from check_non_finite(engine, device)


def run_kernels_briefly(engine: Engine, device: Gpu | Host, problems: Iterable[Problem]) -> Iterator[Outcome]:
    """The same, but each kernel in each way once before any is repeated."""
    seen: set[tuple[str, str]] = set()
    again = []
    for problem in problems:
        for run, check in _checks(engine, device, problem):
            if (run.kernel, run.way) in seen:
                again.append(check)
            else:
                seen.add((run.kernel, run.way))
                yield check()
    yield from (check() for check in again)
    yield from check_non_finite(engine, device)


def run_all(engine: Engine, device: Gpu | Host, problems: Iterable[Problem]) -> Iterator[Outcome]:
    """The kernels, which take the longest, come last."""
    for (dtype, tf32), layout in itertools.product(_ARITHMETICS, LAYOUTS):
        yield from check_dispatch(engine, device, next(dispatched_problems(dtype, layout)), tf32, use_cudnn=False)
    cudnn = (False, True) if isinstance(device, Gpu) else (False,)
    for dtype, use_cudnn in itertools.product(DTYPES, cudnn):
        for problem in itertools.islice(captured_problems(dtype), None if isinstance(device, Gpu) else 1):
            yield from check_captured(engine, device, problem, use_cudnn)
    for use_cudnn in cudnn:
        yield from check_dispatched_non_finite(engine, device, use_cudnn)
    if isinstance(device, Gpu):
        yield from check_cudnn(engine, device)
    yield from run_kernels(engine, device, problems)
