"""Networks that are finite-state machines: the same output at every step of every string."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.sequence.finite_state import Machine, StateNetwork, realise

ACTIVATIONS = ("threshold", "relu", "tanh")


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    states, symbols, outputs = draw(st.integers(1, 9)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    transitions = torch.randint(states, (states, symbols), generator=generator)
    return Machine(
        transitions, torch.randint(outputs, (states,), generator=generator), draw(st.integers(0, states - 1))
    )


@settings(max_examples=30, deadline=None)
@given(machine=machines(), activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 2**31))
def test_a_network_equals_any_machine_on_a_thousand_strings(machine: Machine, activation: str, seed: int) -> None:
    strings = torch.randint(machine.symbols, (1000, 25), generator=torch.Generator().manual_seed(seed))
    network = realise(machine, activation)
    with torch.no_grad():
        scores = network(strings)
    assert torch.equal(scores.argmax(2), machine.run(strings))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exactly_one_unit_is_on_however_long_the_string(activation: str) -> None:
    machine = Machine.acceptor([[0, 1], [1, 2], [2, 0]], accepting=[0])
    network = realise(machine, activation)
    strings = torch.randint(2, (3, 5000), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden, _ = network.layer(torch.nn.functional.one_hot(strings, 2).float())
    low = -1.0 if activation == "tanh" else 0.0
    assert set(hidden.unique().tolist()) == {low, 1.0}
    assert bool(((hidden == 1).sum(2) == 1).all())
    assert torch.equal(network(strings).argmax(2), machine.run(strings))


def test_parity_is_a_machine_of_two_states() -> None:
    parity = Machine.acceptor([[0, 1], [1, 0]], accepting=[1])
    strings = torch.tensor([[1, 1, 0, 1, 0, 0, 1]])
    assert parity.run(strings).tolist() == [[1, 0, 0, 1, 1, 1, 0]]
    assert torch.equal(parity.run(strings), strings.cumsum(1) % 2)
    assert torch.equal(realise(parity)(strings).argmax(2), strings.cumsum(1) % 2)


def test_a_machine_that_searches_a_word() -> None:
    # a b a: says 1 behind every place where it ends, overlaps too.
    search = Machine.acceptor([[1, 0], [1, 2], [3, 0], [1, 2]], accepting=[3])
    string = torch.tensor([[0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0]])
    text = "".join("ab"[i] for i in string[0].tolist())
    expected = [int(text[: i + 1].endswith("aba")) for i in range(len(text))]
    for activation in ACTIVATIONS:
        assert realise(search, activation)(string).argmax(2)[0].tolist() == expected


def test_a_wrong_weight_makes_another_machine() -> None:
    machine = Machine.acceptor([[0, 1], [1, 0]], accepting=[1])
    network = realise(machine, "relu")
    with torch.no_grad():
        network.layer.cells[0].get_parameter("weight_hidden")[0] = 0
    strings = torch.randint(2, (20, 20), generator=torch.Generator().manual_seed(2))
    assert not torch.equal(network(strings).argmax(2), machine.run(strings))


def test_training_can_go_on_from_there() -> None:
    network = realise(Machine.acceptor([[0, 1], [1, 0]], accepting=[1]), "relu")
    network(torch.tensor([[0, 1, 1]])).sum().backward()
    assert all(p.grad is not None for p in network.layer.parameters())


def test_empty_strings_and_what_is_no_machine() -> None:
    machine = Machine.acceptor([[0, 1], [1, 0]], accepting=[1])
    assert machine.run(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)
    assert realise(machine)(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0, 2)
    with pytest.raises(GradusError, match="leads out"):
        Machine.acceptor([[2]], accepting=[])
    with pytest.raises(GradusError, match="1 outputs for 2 states"):
        Machine(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(GradusError, match="needs a state"):
        Machine(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), start=2)
    with pytest.raises(GradusError, match="did you mean 'tanh'"):
        StateNetwork(2, 2, 2, "tan")
