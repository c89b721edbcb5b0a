"""The contract of minimisers: what every registered one keeps, on small smooth functions.

`check_minimizer` needs no test framework; it raises an AssertionError that says what was broken.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.objective import Minimum
from gradus.optim.surfaces import rosenbrock
from gradus.testing.explainers import refuses

__all__ = ["check_minimizer"]

Minimizer = Callable[..., Minimum]
SHAPE = (2, 3)


class Bowl:
    """½ a·A a + ¼ (a·a)² + 3 with a = x − c and the eigenvalues of A from 1 to 4, counting its calls."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
        self.curvature = (basis * torch.linspace(1, 4, 6, dtype=torch.float64) @ basis.T).to(dtype)
        centre, away = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
        self.centre, self.start = centre.to(dtype), (centre + away / 2).to(dtype)
        self.weight = torch.ones((), dtype=dtype, requires_grad=True)
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        away = (x - self.centre).reshape(-1)
        return self.weight * torch.dot(away, self.curvature @ away / 2 + torch.dot(away, away) * away / 4) + 3

    def slope(self, x: Tensor) -> Tensor:
        """Return the gradient."""
        away = (x - self.centre).reshape(-1)
        return (self.curvature @ away + torch.dot(away, away) * away).reshape(SHAPE)


def check_minimizer(minimizer: Minimizer) -> None:
    """Assert the contract of a minimiser `(fn, x0, *, gtol, max_iterations, callback) -> Minimum`.

    It finds the minimum of a bowl in either precision and says truthfully what it found and spent; a minimum is where
    it stays; it ends when told to and tells its caller about every iteration; it comes back from where the function
    is not defined; it leaves its inputs, the caller's modes and random numbers alone; it refuses what cannot be
    minimised with a GradusError, and lets the function's own errors through.

    Args:
        minimizer: with settings bound, if it has any without default.

    Raises:
        AssertionError: naming what was broken.
    """
    for check in CHECKS:
        check(minimizer)


def _solves(minimizer: Minimizer) -> None:
    for dtype, gtol in ((torch.float64, 1e-7), (torch.float32, 1e-3)):
        bowl = Bowl(dtype)
        found = minimizer(bowl, bowl.start, gtol=gtol)
        assert found.success, f"a bowl in {dtype} was not solved: {found.message}"
        assert found.status == 0, "success has status 0"
        assert found.x.shape == SHAPE, f"x has shape {tuple(found.x.shape)} for an x0 of {SHAPE}"
        assert found.x.dtype == dtype, f"x is {found.x.dtype} for an x0 of {dtype}"
        far = float((found.x - bowl.centre).abs().max())
        assert far <= 10 * gtol, f"it stopped {far:g} from the minimum"
        for shape in ((), (1,)):
            x0 = torch.full(shape, 2.0, dtype=dtype)
            one = minimizer(lambda x: (x - 1).square().sum(), x0, gtol=gtol)
            assert one.x.shape == shape, f"x has shape {tuple(one.x.shape)} for an x0 of {shape}"
            assert abs(float(one.x) - 1) <= gtol, "a parabola of one variable was not solved"


def _tells_the_truth(minimizer: Minimizer) -> None:
    bowl = Bowl()
    found = minimizer(bowl, bowl.start, gtol=1e-7)
    assert found.nfev + found.nhev == bowl.calls, f"nfev + nhev is {found.nfev + found.nhev}, of {bowl.calls} calls"
    assert min(found.nit, found.njev) >= 1, "it moved without an iteration or a gradient"
    assert found.residual <= 1e-7, "it says success with a residual above gtol"
    assert type(found.fun) is float, f"fun is a {type(found.fun).__name__}"
    assert abs(found.fun - bowl(found.x).item()) < 1e-12, "fun is not the function's value at x"
    assert torch.allclose(found.jac, bowl.slope(found.x), rtol=0, atol=1e-9), "jac is not the gradient at x"
    for tensor in (found.x, found.jac):
        assert not tensor.requires_grad, "the answer still hangs on the graph"
    assert found.message, "there is no message"


def _leaves_all_else_alone(minimizer: Minimizer) -> None:
    bowl = Bowl()
    kept, state = bowl.start.clone(), torch.get_rng_state()
    found = minimizer(bowl, bowl.start, gtol=1e-7)
    assert torch.equal(bowl.start, kept), "x0 was changed"
    assert not bowl.start.requires_grad, "x0 was made to require a gradient"
    assert bowl.weight.grad is None, "a gradient was left in what the function uses"
    assert torch.equal(torch.get_rng_state(), state), "random numbers were drawn"
    held = found.x.data_ptr()
    still = minimizer(bowl, bowl.start, gtol=1e-7, max_iterations=0)
    assert still.x.data_ptr() not in (held, bowl.start.data_ptr()), "the answer shares memory with x0"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(found.x, minimizer(bowl, bowl.start, gtol=1e-7).x), "the same question got two answers"
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            again = minimizer(bowl, bowl.start.clone(), gtol=1e-7)
            assert torch.equal(found.x, again.x), f"the answer differs under {mode.__name__}"
            assert not torch.is_grad_enabled(), "the caller's grad mode was changed"
    leaf = bowl.start.clone().requires_grad_()
    assert torch.equal(found.x, minimizer(bowl, leaf, gtol=1e-7).x), "an x0 that requires a gradient changes the answer"
    assert leaf.grad is None, "x0 was given a gradient"


def _stays_at_a_minimum(minimizer: Minimizer) -> None:
    bowl = Bowl()
    found = minimizer(bowl, bowl.centre, gtol=1e-6)
    assert found.success, "a start at the minimum is no success"
    assert float((found.x - bowl.centre).abs().max()) <= 1e-6, "it left the minimum it was started at"


def _ends_when_told(minimizer: Minimizer) -> None:
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    none = minimizer(rosenbrock, x0, max_iterations=0)
    assert torch.equal(none.x, x0), "max_iterations=0 moved"
    assert none.nit == 0, "max_iterations=0 made an iteration"
    assert not none.success, "max_iterations=0 away from the minimum is a success"
    one = minimizer(rosenbrock, x0, max_iterations=1)
    assert one.nit == 1, f"max_iterations=1 made {one.nit} iterations"
    assert (one.success, one.status) == (False, 1), "running out of iterations is success=False with status 1"
    assert one.fun < none.fun, "the first iteration did not lower the function"


def _tells_its_caller(minimizer: Minimizer) -> None:
    bowl = Bowl()
    seen: list[Minimum] = []
    found = minimizer(bowl, bowl.start, gtol=1e-7, callback=seen.append)
    assert [one.nit for one in seen] == list(range(1, found.nit + 1)), "the callback is not called once an iteration"
    assert all(torch.allclose(one.jac, bowl.slope(one.x), atol=1e-9) for one in seen), "the callback sees another jac"
    places = {one.x.data_ptr() for one in seen}
    assert len(places) == len(seen), "the callback is handed the same memory again and again"

    def stop(minimum: Minimum) -> None:
        raise StopIteration

    stopped = minimizer(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), callback=stop)
    assert (stopped.success, stopped.nit) == (False, 1), "StopIteration in the callback does not end it there"


def _comes_back(minimizer: Minimizer) -> None:
    """10 x − log x is not defined for x ≤ 0, where first steps from ½ lead; its minimum is at 0.1."""
    found = minimizer(lambda x: (10 * x - x.log()).sum(), torch.tensor([0.5, 0.45], dtype=torch.float64), gtol=1e-5)
    assert found.success, f"a step out of the domain was not taken back: {found.message}"
    assert float((found.x - 0.1).abs().max()) < 1e-5, "it did not find the minimum of 10 x − log x"


def _does_not_invent(minimizer: Minimizer) -> None:
    """−eˣ has no minimum: an error or no success is due, after a bounded number of iterations."""
    try:
        found = minimizer(lambda x: -(x.sum() + 1).exp(), torch.zeros(3, dtype=torch.float64), max_iterations=50)
    except GradusError:
        return
    assert not found.success, "a function without a minimum is a success"


def _refuses(minimizer: Minimizer) -> None:
    x0, bowl = torch.zeros(3, dtype=torch.float64), Bowl()
    broken: dict[str, Callable[[], Any]] = {
        "an objective that is NaN": lambda: minimizer(lambda x: (x - 1).log().sum(), x0),
        "an objective without a finite gradient": lambda: minimizer(lambda x: x.abs().sqrt().sum(), x0),
        "an objective of several numbers": lambda: minimizer(lambda x: x - 1, x0),
        "an objective that is no tensor": lambda: minimizer(lambda x: x.sum().item(), x0),
        "an objective that autograd cannot follow": lambda: minimizer(lambda x: x.detach().square().sum(), x0),
        "an x0 of half precision": lambda: minimizer(bowl, bowl.start.bfloat16()),
        "an x0 that is not finite": lambda: minimizer(bowl, bowl.start / 0),
        "an empty x0": lambda: minimizer(lambda x: x.sum(), torch.zeros(0)),
        "a negative gtol": lambda: minimizer(bowl, bowl.start, gtol=-1.0),
        "a negative max_iterations": lambda: minimizer(bowl, bowl.start, max_iterations=-1),
    }
    for what, act in broken.items():
        refuses(act, what)
    try:
        minimizer(lambda x: torch.where(x < 0.5, x.square(), torch.nan).sum(), x0 + 0.6)
    except GradusError as error:
        told = str(error)
    else:
        raise AssertionError("an objective that is NaN at x0 was accepted")
    assert "nan" in told and "0.6" in told and "iteration 0" in told, f"the error does not say where: {told}"  # noqa: PT018


def _lets_errors_through(minimizer: Minimizer) -> None:
    bowl = Bowl()

    def breaks(x: Tensor) -> Tensor:
        if bowl.calls == 2:
            raise ZeroDivisionError
        return bowl(x)

    try:
        minimizer(breaks, bowl.start)
    except ZeroDivisionError:
        return
    raise AssertionError("an error inside the function was swallowed")


CHECKS = (
    _solves,
    _tells_the_truth,
    _leaves_all_else_alone,
    _stays_at_a_minimum,
    _ends_when_told,
    _tells_its_caller,
    _comes_back,
    _does_not_invent,
    _refuses,
    _lets_errors_through,
)
