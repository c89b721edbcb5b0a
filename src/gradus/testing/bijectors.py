"""The contract of bijectors: what every registered one keeps, in float64 and against autograd's own Jacobian.

`check_bijector` needs no test framework; it raises an AssertionError that says what was broken.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gradus.prob.bijector import Bijector
from gradus.prob.composition import Inverse, to_support

__all__ = ["check_bijector"]

Make = Callable[[], Bijector]
TOLERANCE = 1e-8


def check_bijector(make: Make, *, length: int = 3) -> None:
    """Assert the contract of a bijector.

    It inverts in both directions; its log-determinants are those of its Jacobian and of the inverse's; a batch of any
    shape is its rows, one at a time; gradients are right, and reach every parameter; images lie in the codomain, and
    domain, codomain and log-determinant agree about what an event is; float32 stays float32 and finite far out; the
    state round-trips; inputs are left alone.

    Args:
        make: gives the bijector anew, always the same.
        length: of a dimension of the events it is tried on, if it takes any.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in CHECKS:
        check(make, length)


def _event_shape(bijector: Bijector, length: int) -> torch.Size:
    own = bijector.event_shape
    return torch.Size([length] * max(1, bijector.event_dims)) if own is None else own


def _points(bijector: Bijector, batch: tuple[int, ...], length: int, scale: float = 1.5) -> Tensor:
    """Return points of the domain in float64, by what maps unconstrained numbers onto it."""
    shape = _event_shape(bijector, length)
    try:
        onto = to_support(bijector.domain)
        free = onto.preimage_shape(shape)
    except Exception as error:
        raise AssertionError(f"its domain {bijector.domain} cannot be sampled: {error}") from error
    generator = torch.Generator().manual_seed(7)
    return onto(scale * torch.randn(*batch, *free, generator=generator, dtype=torch.float64))[0].detach()


def _double(make: Make) -> Bijector:
    return make().double()


def _batch_of(x: Tensor, dims: int) -> torch.Size:
    return x.shape[: x.dim() - dims]


def _close(left: Tensor, right: Tensor, tolerance: float = TOLERANCE) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, rtol=tolerance, atol=tolerance)


def _inverts(make: Make, length: int) -> None:
    bijector = _double(make)
    x = _points(bijector, (40,), length)
    kept = x.clone()
    y, there = bijector(x)
    image = y.clone()
    again, back = bijector.inverse(y)
    unchanged = torch.equal(x, kept) and torch.equal(y, image)
    assert unchanged, "the input was changed"
    assert _close(again, x), f"inverse(forward(x)) is {float((again - x).abs().max()):.1e} from x"
    assert there.shape == back.shape == _batch_of(x, bijector.event_dims), (
        f"a batch of shape {tuple(x.shape)} with {bijector.event_dims} event dimensions has log-determinants of shapes "
        f"{tuple(there.shape)} and {tuple(back.shape)}"
    )
    assert _close(there + back, torch.zeros_like(there)), "the log-determinants of the two directions do not cancel"
    once_more, _ = bijector(again)
    assert _close(once_more, y), "forward(inverse(y)) is not y"


def _shapes_agree(make: Make, length: int) -> None:
    bijector = _double(make)
    x = _points(bijector, (2,), length)
    y, _ = bijector(x)
    event, image = x.shape[1:], y.shape[1:]
    assert bijector.image_shape(event) == image, f"image_shape says {tuple(bijector.image_shape(event))}, not {image}"
    assert bijector.preimage_shape(image) == event, "preimage_shape does not lead back"
    for name in ("domain", "codomain"):
        dims = getattr(bijector, name).event_dim
        assert dims == bijector.event_dims, f"its {name} has {dims} event dimensions, itself {bijector.event_dims}"


def _log_determinant(bijector: Bijector, x: Tensor) -> Tensor:
    """Return log |det J| of one event, by autograd row by row.

    Where images have more coordinates than points, as on a simplex, those too many are the last.
    """
    y = bijector(x)[0].detach()
    if y.numel() < x.numel():
        return -_log_determinant(Inverse(bijector), y)

    def chart(point: Tensor) -> Tensor:
        return bijector(point.view(x.shape))[0].flatten()[: x.numel()]

    return torch.linalg.slogdet(torch.autograd.functional.jacobian(chart, x.flatten()))[1]


def _is_the_jacobians(make: Make, length: int) -> None:
    bijector = _double(make)
    for x in _points(bijector, (6,), length):
        try:
            expected = _log_determinant(bijector, x)
        except RuntimeError as error:
            raise AssertionError(f"its map has no Jacobian: {error}") from error
        found = bijector(x)[1].sum()
        assert _close(found, expected), (
            f"the log-determinant is {float(found):.6f}, the Jacobian's {float(expected):.6f}"
        )


def _batches_are_rows(make: Make, length: int) -> None:
    bijector = _double(make)
    for batch in ((), (1,), (2, 3)):
        x = _points(bijector, batch, length)
        y, logdet = bijector(x)
        assert logdet.shape == _batch_of(x, bijector.event_dims), f"a batch of shape {batch} broke the log-determinant"
        event = len(_event_shape(bijector, length))
        rows = x.reshape(-1, *x.shape[x.dim() - event :])
        alone = [bijector(row) for row in rows]
        images = torch.stack([image for image, _ in alone]).view(y.shape)
        logdets = torch.stack([value for _, value in alone]).view(logdet.shape)
        same = _close(images, y) and _close(logdets, logdet)
        assert same, "a row alone is mapped otherwise than in a batch"


def _gradients(make: Make, length: int) -> None:
    bijector = _double(make)
    x = _points(bijector, (2,), length).requires_grad_()
    y = bijector(x)[0].detach().requires_grad_()
    for what, map, point in (("forward", bijector, x), ("inverse", bijector.inverse, y)):

        def joined(point: Tensor, map: Callable[[Tensor], tuple[Tensor, Tensor]] = map) -> Tensor:
            # In one tensor, a log-determinant that lost its graph is compared too.
            return torch.cat([part.flatten() for part in map(point)])

        try:
            right = torch.autograd.gradcheck(joined, (point,), raise_exception=False)
        except (RuntimeError, ValueError) as error:
            raise AssertionError(f"the gradients of {what} cannot be taken: {error}") from error
        assert right, f"the gradients of {what} are not those of finite differences"
    parameters = dict(bijector.named_parameters())
    if parameters:
        image, logdet = bijector(x)
        found = torch.autograd.grad((image**2).sum() + logdet.sum(), list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            assert gradient is not None, f"no gradient reaches {name}"
            assert bool(gradient.isfinite().all()), f"the gradient of {name} is not finite"


def _keeps_its_codomain(make: Make, length: int) -> None:
    bijector = _double(make)
    x = _points(bijector, (200,), length)
    y, _ = bijector(x)
    assert bool(bijector.codomain.check(y).all()), f"images leave the codomain {bijector.codomain}"
    assert bool(bijector.domain.check(bijector.inverse(y)[0]).all()), f"preimages leave the domain {bijector.domain}"


def _is_stable(make: Make, length: int) -> None:
    for dtype in (torch.float32, torch.float64):
        bijector = make().to(dtype)
        x = _points(bijector, (4,), length).to(dtype)
        for value in (*bijector(x), *bijector.inverse(bijector(x)[0])):
            assert value.dtype == dtype, f"an input of {dtype} became {value.dtype}"
    if "Real" in str(bijector.domain):
        # Thirty is far beyond where float32 rounds a saturated map to its bound.
        bijector, event = make().float(), _event_shape(make(), length)
        for far in (-30.0, 30.0):
            x = torch.full((1, *event), far, requires_grad=True)
            logdet = bijector(x)[1]
            assert bool(logdet.isfinite().all()), f"the log-determinant at {far:g} is not finite in float32"
            if logdet.requires_grad:
                (slope,) = torch.autograd.grad(logdet.sum(), x)
                assert bool(slope.isfinite().all()), f"the log-determinant's gradient at {far:g} is not finite"


def _state_round_trips(make: Make, length: int) -> None:
    bijector, other = _double(make), _double(make)
    with torch.no_grad():
        for value in other.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1)
    other.load_state_dict(bijector.state_dict())
    x = _points(bijector, (3,), length)
    for twin in (other, copy.deepcopy(bijector)):
        assert all(map(torch.equal, bijector(x), twin(x))), "a copy with the same state maps otherwise"


CHECKS = (
    _shapes_agree,
    _inverts,
    _is_the_jacobians,
    _batches_are_rows,
    _keeps_its_codomain,
    _gradients,
    _is_stable,
    _state_round_trips,
)
