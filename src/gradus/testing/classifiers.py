"""The contract of an image classifier, as checks that need no test framework: an AssertionError says what broke.

A classifier passes when it gives one finite logit per class for any size, channels and dtype, learns with every
parameter, is a function in evaluation (of each image by itself, whatever the memory layout), keeps all it knows in
its state, and shows truthfully where its trunk, its head and its last feature map are.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_classifier"]

Build = Callable[..., Any]
CLASSES = 3


def check_classifier(
    build: Callable[..., nn.Module], *, name: str, documented: Callable[..., Any] | None = None
) -> None:
    """Run the whole contract on a classifier.

    Args:
        build: gives a fresh one for `classes`, `channels` and `image_size`; called several times.
        name: what the sentences call it.
        documented: the public callable whose docstring is checked; `build` by default.

    Raises:
        AssertionError: for the first clause that fails.
    """
    _docstring_is_complete(documented or build, name)
    with torch.random.fork_rng():
        size = getattr(build(classes=CLASSES, channels=1, image_size=64), "minimum_size", None)
        assert isinstance(size, int), f"{name}: minimum_size is {size!r}, no number of pixels"
        assert size >= 1, f"{name}: minimum_size is {size!r}, no number of pixels"
        for check in CHECKS:
            torch.manual_seed(0)
            check(build, name, size)


def _made(build: Build, size: int, *, channels: int = 1) -> Any:
    """Return a model in evaluation whose statistics and gates are not those of a fresh one, so that slips show."""
    torch.manual_seed(0)
    model = build(classes=CLASSES, channels=channels, image_size=size).double()
    for key, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5) if "var" in key else buffer.normal_(0, 0.1)
    return model.eval()


def _images(size: int, channels: int = 1) -> Tensor:
    """Return images of neither the size that the model was built for nor a square one."""
    return torch.rand(4, channels, size + 3, size + 6, dtype=torch.float64)


def _gives_logits(build: Build, name: str, size: int) -> None:
    cases = ((1, 2, (size, size)), (3, 5, (size + 5, size + 9)), (4, 1, (2 * size, size)))
    for channels, classes, shape in cases:
        model = build(classes=classes, channels=channels, image_size=shape).eval()
        for batch in (1, 3):
            logits = model(torch.rand(batch, channels, *shape))
            what = f"{channels} channels, {classes} classes and {shape[0]}×{shape[1]} pixels"
            assert logits.shape == (batch, classes), f"{name}: logits are {tuple(logits.shape)} for {what}"
            assert logits.isfinite().all(), f"{name}: logits are not finite for {what}"


def _keeps_dtypes(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    x = _images(size)
    double = model(x)
    assert double.dtype == torch.float64, f"{name}: float64 in gives {double.dtype} out"
    single = model.float()(x.float())
    assert single.dtype == torch.float32, f"{name}: float32 in gives {single.dtype} out"
    assert torch.allclose(single.double(), double, rtol=1e-3, atol=1e-3), f"{name}: float32 and float64 disagree"


def _every_parameter_learns(build: Build, name: str, size: int) -> None:
    model = _made(build, size).train()
    x = _images(size)
    if hasattr(model, "training_outputs"):
        outputs = model.training_outputs(x)
        assert outputs[0][0] == 1.0, f"{name}: the first of training_outputs is not the main one, of weight 1"
        assert all(y.shape == (len(x), CLASSES) for _, y in outputs), f"{name}: an auxiliary head has other classes"
        loss = sum((weight * y.square().sum() for weight, y in outputs), torch.zeros((), dtype=x.dtype))
    else:
        loss = model(x).square().sum()
    loss.backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name}: no gradient reaches {path}"
        assert parameter.grad.isfinite().all(), f"{name}: the gradient of {path} is not finite"


def _is_a_function_in_evaluation(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    x = _images(size)
    kept = x.clone()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    first, second = model(x), model(x)
    assert torch.equal(x, kept), f"{name}: the input is changed in place"
    assert torch.equal(first, second), f"{name}: the same images give other logits the second time"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"{name}: {key} changes in evaluation"


def _rows_are_independent(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    x = _images(size)
    together = model(x)
    alone = torch.cat([model(row) for row in x.split(1)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-9), f"{name}: an image's logits depend on its neighbours"
    assert together.std(0).max() > 1e-9, f"{name}: the logits do not depend on the image"


def _the_state_is_all(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    held = len(list(model.parameters())) + len(list(model.buffers()))
    assert len(state) == held, f"{name}: the state has {len(state)} tensors and the model {held}; one is there twice"
    x = _images(size)
    torch.manual_seed(1)
    other = build(classes=CLASSES, channels=1, image_size=size).double().eval()
    other.load_state_dict(state)
    assert torch.equal(other(x), model(x)), f"{name}: another one with the same state gives other logits"


def _is_built_from_the_seed(build: Build, name: str, size: int) -> None:
    states = [_made(build, size).state_dict() for _ in range(2)]
    same = all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))
    assert same, f"{name}: the same seed gives other initial weights"


def _parts_are_true(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    for part in ("trunk", "head", "feature_map"):
        assert isinstance(getattr(model, part, None), nn.Module), f"{name}: .{part} is no module"
    x = _images(size)
    whole = model(x)
    assert torch.allclose(model.head(model.trunk(x)), whole), f"{name}: forward is not head(trunk(x))"
    parts = {id(p) for part in (model.trunk, model.head) for p in part.parameters()}
    main = [path for path, p in model.named_parameters() if id(p) not in parts and not path.startswith("auxiliary.")]
    assert not main, f"{name}: {main[:1]} is neither in the trunk nor in the head"
    maps: list[Tensor] = []
    handle = model.feature_map.register_forward_hook(lambda module, inputs, output: maps.append(output))
    logits = model(x)
    handle.remove()
    assert len(maps) == 1, f"{name}: the feature map is computed {len(maps)} times in a forward pass"
    assert maps[0].ndim == 4, f"{name}: the feature map is {tuple(maps[0].shape)}, not (batch, channels, height, width)"
    (gradient,) = torch.autograd.grad(logits.sum(), maps[0], allow_unused=True)
    assert gradient is not None, f"{name}: the logits do not depend on the feature map"
    assert gradient.abs().sum() > 0, f"{name}: the logits do not depend on the feature map"


def _memory_formats_agree(build: Build, name: str, size: int) -> None:
    model = _made(build, size, channels=3)
    x = _images(size, channels=3)
    plain = model(x)
    last = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(last, plain, rtol=0, atol=1e-9), f"{name}: channels-last images give other logits"


def _shows_itself(build: Build, name: str, size: int) -> None:
    model = _made(build, size)
    text = repr(model)
    for part, _ in model.named_children():
        assert f"({part})" in text, f"{name}: repr does not show {part}"


def _docstring_is_complete(documented: Callable[..., Any], name: str) -> None:
    text = inspect.getdoc(documented) or ""
    first = text.split("\n")[0]
    assert first.endswith("."), f"{name}: the docstring does not begin with a sentence"
    for parameter in inspect.signature(documented).parameters:
        assert f"\n    {parameter}: " in text, f"{name}: the docstring does not tell of {parameter!r}"


CHECKS = (
    _gives_logits,
    _is_a_function_in_evaluation,
    _keeps_dtypes,
    _every_parameter_learns,
    _rows_are_independent,
    _the_state_is_all,
    _is_built_from_the_seed,
    _parts_are_true,
    _memory_formats_agree,
    _shows_itself,
)
