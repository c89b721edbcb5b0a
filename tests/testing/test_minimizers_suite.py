"""Every registered minimiser keeps the contract, and the contract rejects minimisers with planted bugs."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gradus import canon
from gradus.errors import GradusError
from gradus.optim import minimize
from gradus.optim.objective import STALLED
from gradus.testing.minimizers import check_minimizer

MINIMIZERS = sorted(id for id, entry in canon.scan().items() if entry.kind == "minimizer")
SEARCHING = ("bfgs", "sr1", "dfp", "lbfgs", "newton", "cg", "gd")


def test_the_registry_knows_minimizers():
    known = {"optim/bfgs", "optim/lbfgs", "optim/newton", "optim/fista", "optim/augmented-lagrangian"}
    assert known <= set(MINIMIZERS)


@pytest.mark.parametrize("id", MINIMIZERS)
def test_contract(id):
    minimizer = canon.load(canon.scan()[id])
    make = canon.example(id)
    check_minimizer(make() if make else minimizer)


@pytest.mark.parametrize("line_search", ["armijo", "exact"])
@pytest.mark.parametrize("method", SEARCHING)
def test_contract_with_other_line_searches(method, line_search):
    check_minimizer(lambda fn, x0, **settings: minimize(fn, x0, method=method, line_search=line_search, **settings))


@pytest.mark.parametrize("id", MINIMIZERS)
def test_signature_is_the_familys(id):
    parameters = canon.scan()[id].parameters
    assert list(parameters)[:2] == ["fn", "x0"]
    assert {"gtol", "max_iterations", "callback"} <= set(parameters)


def changed(change):
    """Return a minimiser whose answer has the fields that a function of (answer, fn, x0) gives."""

    def minimizer(fn, x0, **settings):
        found = minimize(fn, x0, **settings)
        return SimpleNamespace(**{**vars(found), **change(found, fn, x0)})

    return minimizer


def stops_early(fn, x0, *, gtol=1e-5, **settings):
    return minimize(fn, x0, gtol=max(gtol, 1e-2), **settings)


def works_in_double(fn, x0, **settings):
    return minimize(lambda x: fn(x.to(x0.dtype)), x0.double(), **settings)


def flattens(fn, x0, **settings):
    return changed(lambda m, fn, x0: {"x": m.x.reshape(-1)})(fn, x0, **settings)


def forgets_an_evaluation(fn, x0, **settings):
    fn(x0.detach().clone().requires_grad_())
    return minimize(fn, x0, **settings)


def works_in_place(fn, x0, **settings):
    found = minimize(fn, x0, **settings)
    with torch.no_grad():
        x0.detach().copy_(found.x)
    return found


def leaves_gradients(fn, x0, **settings):
    found = minimize(fn, x0, **settings)
    with torch.enable_grad():
        output = fn(found.x.clone().requires_grad_())
        if output.requires_grad and getattr(fn, "weight", None) is not None:
            output.backward()
    return replace(found, nfev=found.nfev + 1)


def rolls_dice(fn, x0, **settings):
    return minimize(fn, x0 + 1e-3 * torch.randn_like(x0), **settings)


def starts_elsewhere(fn, x0, **settings):
    return minimize(fn, x0 + 1e-2, **settings)


def cannot_be_stopped(fn, x0, *, max_iterations=None, **settings):
    return minimize(fn, x0, max_iterations=None if max_iterations is None else max(2, max_iterations), **settings)


def skips_a_callback(fn, x0, *, callback=None, **settings):
    first = []

    def later(minimum):
        if first and callback is not None:
            callback(minimum)
        first.append(minimum)

    return minimize(fn, x0, callback=later, **settings)


def swallows_stop(fn, x0, *, callback=None, **settings):
    def quiet(minimum):
        try:
            if callback is not None:
                callback(minimum)
        except StopIteration:
            return

    return minimize(fn, x0, callback=quiet, **settings)


def swallows_errors(fn, x0, **settings):
    try:
        return minimize(fn, x0, **settings)
    except ZeroDivisionError:
        return None


def accepts_nan(fn, x0, **settings):
    def patched(x):
        value = fn(x)
        return torch.where(value.isfinite(), value, 0 * x.sum()) if value.dim() == 0 else value

    return minimize(patched, x0, **settings)


def does_not_say_where(fn, x0, **settings):
    try:
        return minimize(fn, x0, **settings)
    except GradusError:
        raise GradusError("something went wrong") from None


def casts_halves(fn, x0, **settings):
    return minimize(fn, x0.double() if x0.dtype is torch.bfloat16 else x0, **settings)


def needs_the_callers_mode(fn, x0, **settings):
    if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
        return minimize(fn, x0, max_iterations=1, **settings)
    return minimize(fn, x0, **settings)


def full_steps(fn, x0, **settings):
    """Newton without a line search: no way back into the domain, and no descent."""
    return minimize(fn, x0, method="newton", line_search=one_step, **settings)


def one_step(ray, start, first=1.0, *, eps=0.0):
    return ray(1.0)


TWINS = {
    "stops early": (stops_early, "from the minimum|residual above"),
    "works in double": (works_in_double, "x is torch.float64"),
    "flattens": (flattens, "shape"),
    "forgets an evaluation": (forgets_an_evaluation, "nfev"),
    "works in place": (works_in_place, "x0 was changed|from the minimum|did not lower|moved"),
    "leaves gradients": (leaves_gradients, "a gradient was left"),
    "rolls dice": (rolls_dice, "random numbers were drawn|one variable|moved"),
    "starts elsewhere": (starts_elsewhere, "max_iterations=0 moved"),
    "cannot be stopped": (cannot_be_stopped, "max_iterations=0"),
    "skips a callback": (skips_a_callback, "once an iteration"),
    "swallows StopIteration": (swallows_stop, "StopIteration"),
    "swallows errors": (swallows_errors, "swallowed"),
    "accepts NaN": (accepts_nan, "NaN|did not find"),
    "does not say where": (does_not_say_where, "does not say where"),
    "casts halves": (casts_halves, "an x0 of half"),
    "needs the caller's mode": (needs_the_callers_mode, "the answer differs under"),
    "takes full steps": (full_steps, "did not lower|taken back|domain|nan"),
    "always succeeds": (changed(lambda m, fn, x0: {"success": True}), "max_iterations=0 away|success"),
    "never succeeds": (changed(lambda m, fn, x0: {"success": False, "status": STALLED}), "was not solved"),
    "says the wrong value": (changed(lambda m, fn, x0: {"fun": m.fun - 3}), "fun is not"),
    "gives a tensor for fun": (changed(lambda m, fn, x0: {"fun": torch.tensor(m.fun).double()}), "fun is a"),
    "gives the first gradient": (changed(lambda m, fn, x0: {"jac": m.jac + 1}), "jac is not"),
    "shares memory": (changed(lambda m, fn, x0: {"x": x0.detach()} if m.nit == 0 else {}), "shares memory"),
    "says nothing": (changed(lambda m, fn, x0: {"message": ""}), "no message"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug):
    minimizer, said = TWINS[bug]
    with pytest.raises((AssertionError, GradusError), match=said):
        check_minimizer(minimizer)
