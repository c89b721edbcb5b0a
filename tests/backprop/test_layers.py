"""Every layer's hand-written gradients against central differences; and what each layer is known to do."""

import subprocess
import sys

import numpy as np
import pytest

from backprop.examples import EXAMPLES, images, inputs, layers_of_the_room
from gradus.backprop import (
    LSTM,
    RNN,
    BatchNorm,
    Dropout,
    Layer,
    Linear,
    MaxPool,
    MeanSquaredError,
    Network,
    Sigmoid,
    Softmax,
    SoftmaxCrossEntropy,
    check_gradients,
    check_layer,
)
from gradus.backprop.recurrent import Recurrent
from gradus.errors import GradusError


def built(name: str) -> tuple[Layer, np.ndarray]:
    make, shape = EXAMPLES[name]
    layer = make(np.random.default_rng(1))
    rng = np.random.default_rng(2)
    for array in layer.params.values():  # biases and gains that begin at 0 or 1 would hide mistakes
        array += 0.3 * rng.standard_normal(array.shape)
    return layer, inputs(shape)


def test_every_layer_has_an_example() -> None:
    shown = {type(make(np.random.default_rng(0))) for make, _ in EXAMPLES.values()}
    assert set(layers_of_the_room()) <= shown


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_backward_equals_central_differences(name: str, training: bool) -> None:
    layer, x = built(name)
    layer.forward(x)
    layer.train(training)
    report = check_layer(layer, x, tolerance=1e-7)
    assert report.ok, f"\n{report}"
    assert {row.name for row in report.rows} == {"x", *layer.params}


@pytest.mark.parametrize("name", EXAMPLES)
def test_backward_is_linear_and_writes_its_gradients_anew(name: str) -> None:
    layer, x = built(name)
    dy = images(*layer.forward(x).shape)
    dx, grads = layer.backward(dy), dict(layer.grads)
    layer.forward(x)
    again = layer.backward(-2 * dy)
    assert np.allclose(again, -2 * dx, atol=1e-12)
    assert all(np.allclose(layer.grads[key], -2 * grads[key], atol=1e-12) for key in layer.params)


@pytest.mark.parametrize("name", EXAMPLES)
def test_precision_is_kept_and_inputs_are_left_alone(name: str) -> None:
    layer, x = built(name)
    layer.cast(np.float32)
    x = x.astype(np.float32)
    before = x.copy()
    y = layer.forward(x)
    dx = layer.backward(np.ones_like(y))
    arrays = {"y": y, "dx": dx, **layer.params, **layer.grads, **layer.buffers}
    assert {key: a.dtype for key, a in arrays.items() if a.dtype != np.float32} == {}
    assert np.array_equal(x, before)
    assert dx.shape == x.shape


def test_backward_before_forward_says_so() -> None:
    with pytest.raises(GradusError, match=r"Linear\.backward needs what forward keeps"):
        Linear(2, 2, rng=np.random.default_rng(0)).backward(np.zeros((1, 2)))


@pytest.mark.parametrize(
    "name, shape, said",
    [
        ("linear", (5, 3), "takes 4 numbers, but was given 3"),
        ("convolution", (1, 3, 7, 7), "takes 2 channels, but was given 3"),
        ("convolution", (1, 2, 2, 9), "do not fit an image"),
        ("batch norm", (5, 3), "takes 4 channels"),
        ("batch norm", (1, 4), "enlarge the batch"),
        ("layer norm", (5, 3), "takes 4 features"),
        ("lstm", (2, 3, 5), "takes 4 inputs"),
    ],
)
def test_inputs_that_do_not_fit_are_told(name: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        built(name)[0].forward(np.zeros(shape))


# -- losses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_the_joint_derivative_of_softmax_and_cross_entropy(soft: bool) -> None:
    """p − y, by differences; and what the two derivatives give one after the other."""
    logits, loss = images(6, 5), SoftmaxCrossEntropy()
    labels = np.random.default_rng(0).dirichlet(np.ones(5), 6) if soft else np.array([0, 4, 2, 2, 1, 3])
    loss.forward(logits, labels)
    joint = loss.backward()
    report = check_gradients(lambda: loss.forward(logits, labels), {"logits": logits}, {"logits": joint})
    assert report.ok, f"\n{report}"
    softmax = Softmax()
    y = labels if soft else np.eye(5)[labels]
    p = softmax.forward(logits)
    assert np.allclose(softmax.backward(-y / p / 6), joint, atol=1e-14)


def test_cross_entropy_is_exact_at_large_scores() -> None:
    loss = SoftmaxCrossEntropy()
    assert loss.forward(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([1, 1])) == 1e4
    assert np.array_equal(loss.backward(), [[0.5, -0.5], [0, 0]])


def test_squared_error_by_differences() -> None:
    predictions, targets, loss = images(4, 3), images(4, 3, seed=1), MeanSquaredError()
    loss.forward(predictions, targets)
    grads = {"predictions": loss.backward()}
    assert check_gradients(lambda: loss.forward(predictions, targets), {"predictions": predictions}, grads).ok


def test_losses_refuse_what_does_not_fit() -> None:
    with pytest.raises(GradusError, match="between 0 and 2, got 0 to 3"):
        SoftmaxCrossEntropy().forward(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(GradusError, match="3 labels for 2 rows"):
        SoftmaxCrossEntropy().forward(np.zeros((2, 3)), np.array([0, 1, 1]))
    with pytest.raises(GradusError, match="of one shape"):
        MeanSquaredError().forward(np.zeros((2, 3)), np.zeros((2, 1)))


# -- what layers are known to do ---------------------------------------------------------------------------------------


def test_a_network_is_the_composition_of_its_layers() -> None:
    rng = np.random.default_rng(0)
    first, middle, last = Linear(3, 4, rng=rng), Sigmoid(), Linear(4, 2, rng=rng)
    network, x, dy = Network({"a": first, "b": middle, "c": last}), images(5, 3), images(5, 2)
    assert np.array_equal(network.forward(x), last.forward(middle.forward(first.forward(x))))
    assert np.array_equal(network.backward(dy), first.backward(middle.backward(last.backward(dy))))
    assert list(network.params) == ["a.weight", "a.bias", "c.weight", "c.bias"]
    network.params["a.bias"] += 1
    assert np.array_equal(first.params["bias"], np.ones(4)), "the arrays are shared, not copied"


def test_max_pooling_sends_the_gradient_to_the_first_of_equals() -> None:
    pool = MaxPool(2)
    pool.forward(np.ones((1, 1, 2, 2)))
    assert np.array_equal(pool.backward(np.full((1, 1, 1, 1), 3.0)), [[[[3, 0], [0, 0]]]])


def test_overlapping_windows_add_up() -> None:
    pool = MaxPool(3, 1)
    x = np.zeros((1, 1, 4, 4))
    x[..., 1, 1] = 1
    pool.forward(x)
    assert pool.backward(np.ones((1, 1, 2, 2)))[0, 0, 1, 1] == 4


def test_batch_norm_whitens_in_training_and_remembers_for_evaluation() -> None:
    layer, x = BatchNorm(3, eps=0.0, momentum=1.0), 5 + 2 * images(50, 3, 4, 4)
    y = layer.forward(x)
    assert np.allclose(y.mean((0, 2, 3)), 0)
    assert np.allclose(y.std((0, 2, 3)), 1)
    layer.train(False)
    count = x.size // 3
    assert np.allclose(layer.forward(x), y * np.sqrt((count - 1) / count)), "the running variance is unbiased"


def test_batch_norm_passes_on_no_shift_and_no_stretch() -> None:
    """dx is orthogonal to what normalisation undoes: adding a constant to a channel, and scaling it."""
    layer, x = BatchNorm(3, eps=0.0), images(8, 3)
    layer.forward(x)
    dx = layer.backward(images(8, 3, seed=1))
    assert np.allclose(dx.sum(0), 0)
    assert np.allclose((dx * x).sum(0), 0)


def test_dropout_keeps_the_mean_and_its_masks_are_functions_of_seed_and_draw() -> None:
    layer, x = Dropout(0.3, seed=5), np.ones((400, 250))
    first = layer.forward(x)
    # 10⁵ draws: the mean of m / 0.7 has a deviation of √(0.3 / 0.7 / 10⁵) = 0.002.
    assert abs(first.mean() - 1) < 0.01
    assert set(np.unique(first)) == {0, 1 / 0.7}
    assert np.array_equal(layer.forward(x), first), "the same draw gives the same mask"
    layer.seek(1)
    other = layer.forward(x)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.02
    layer.seek(0)
    assert np.array_equal(layer.forward(x), first)
    assert not np.array_equal(Dropout(0.3, seed=6).forward(x), first)
    layer.train(False)
    assert layer.forward(x) is x


def test_dropout_refuses_to_drop_everything() -> None:
    with pytest.raises(GradusError, match="below 1, got 1"):
        Dropout(1.0)


# -- time --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_gradients_with_respect_to_the_first_state_and_from_the_last(name: str) -> None:
    layer, x = built(name)
    assert isinstance(layer, Recurrent)
    start = tuple(images(3, 3, seed=i) for i in range(layer.states))
    weights = images(3, 5, 3, seed=7)
    pulls = tuple(images(3, 3, seed=8 + i) for i in range(layer.states))

    def value() -> float:
        y = layer.forward(x, start)
        return float((weights * y).sum() + sum((w * s).sum() for w, s in zip(pulls, layer.final)))

    value()
    dx = layer.backward(weights, pulls)
    arrays = {"x": x, **{f"start{i}": s for i, s in enumerate(start)}, **layer.params}
    grads = {"x": dx, **{f"start{i}": s for i, s in enumerate(layer.dstart)}, **layer.grads}
    report = check_gradients(value, arrays, grads, tolerance=1e-7)
    assert report.ok, f"\n{report}"


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_sequence_may_be_cut_where_its_state_is_handed_on(name: str) -> None:
    layer, x = built(name)
    assert isinstance(layer, Recurrent)
    whole, dy = layer.forward(x), images(3, 5, 3)
    dx, grads = layer.backward(dy), dict(layer.grads)
    early = layer.forward(x[:, :2])
    middle = layer.final
    late = layer.forward(x[:, 2:], middle)
    assert np.allclose(np.concatenate((early, late), 1), whole, atol=1e-14)
    late_dx, late_grads = layer.backward(dy[:, 2:]), dict(layer.grads)
    handed = layer.dstart
    layer.forward(x[:, :2])
    early_dx = layer.backward(dy[:, :2], handed)
    assert np.allclose(np.concatenate((early_dx, late_dx), 1), dx, atol=1e-14)
    assert all(np.allclose(layer.grads[key] + late_grads[key], grads[key], atol=1e-13) for key in grads)


def test_an_open_forget_gate_carries_the_gradient_where_a_plain_cell_loses_it() -> None:
    """Through 100 moments: with f = 1 the LSTM's ds is constant; the RNN's falls below (max slope × ‖W‖)¹⁰⁰."""
    rng, x = np.random.default_rng(0), np.zeros((1, 100, 1))
    lstm, rnn = LSTM(1, 8, rng=rng), RNN(1, 8, rng=rng)
    for array in lstm.params.values():
        array[...] = 0
    lstm.params["bias_ih"][8:16] = 40  # σ(40) = 1 − 4e-18
    pull = images(1, 8)
    lstm.forward(x)
    lstm.backward(np.zeros((1, 100, 8)), (np.zeros((1, 8)), pull))
    assert np.allclose(lstm.dstart[1], pull, rtol=1e-12)
    rnn.params["weight_hh"] *= 0.9 / np.linalg.norm(rnn.params["weight_hh"], 2)
    rnn.forward(x)
    rnn.backward(np.zeros((1, 100, 8)), (pull,))
    assert np.linalg.norm(rnn.dstart[0]) <= 0.9**100 * np.linalg.norm(pull)


def test_a_state_of_another_shape_is_refused() -> None:
    layer = LSTM(2, 3, rng=np.random.default_rng(0))
    with pytest.raises(GradusError, match=r"a state of LSTM is 2 × \(4, 3\)"):
        layer.forward(np.zeros((4, 1, 2)), (np.zeros((4, 3)),))


def test_the_layers_import_no_torch() -> None:
    code = "import sys, gradus.backprop as b\n"
    code += "b.Linear, b.Convolution, b.LSTM, b.Attention, b.BatchNorm, b.check_layer, b.SGD, b.Network, b.Dropout\n"
    code += "import gradus.backprop.recipes, gradus.backprop.architectures\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
