"""Recurrent layers: one cell applied at every moment, and backpropagation through time.

    a_t = W_ih x_t + b_ih,   c_t = W_hh h_{t−1} + b_hh,   h_t = cell(a_t, c_t, h_{t−1})

Unrolled, this is a deep network whose layers share their weights. So the gradient is carried backwards from moment to
moment, what each moment's output receives from above is added on the way, and the shared weights gather from all
moments. A cell returns da_t, dc_t and what reaches h_{t−1} directly; the rest is alike in every cell:

    dh_{t−1} = (directly) + dc_t W_hh + dy_{t−1},      dx_t = da_t W_ih
    dW_ih = Σ_t da_tᵀ x_t,   dW_hh = Σ_t dc_tᵀ h_{t−1},   db_ih = Σ_t da_t,   db_hh = Σ_t dc_t

Products with x do not wait for one another, so they are made for all moments at once; only the cell is a loop. Gates
are stacked as in PyTorch, whose weights fit: LSTM input, forget, candidate, output; GRU reset, update, candidate.

References:
    Elman 1990, Finding structure in time. Werbos 1990, Backpropagation through time.
    Hochreiter and Schmidhuber 1997; Gers et al. 2000 (LSTM, forget gate). Cho et al. 2014 (GRU).
Deviations:
    GRU applies the reset gate after W_hh, as PyTorch and cuDNN do, and not to h_{t−1} before it, as the paper does.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float

from gradus.backprop.activations import sigmoid
from gradus.backprop.layer import Array, Layer
from gradus.errors import GradusError

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]

States = tuple[Array, ...]


class Recurrent(Layer):
    """What the three have in common: the walk through time, forwards and backwards.

    The output of every moment is the layer's output. What else there is, is an attribute, so that a chain of layers
    stays a chain: `final` is the state after the last moment, and, after `backward`, `dstart` the gradient with respect
    to the state before the first. A state is (h,), for LSTM (h, c), each (batch, hidden).

    Args:
        inputs: length of x_t.
        hidden: length of h_t.
        rng: draws all weights and biases, uniformly within ±1/√hidden.
    """

    gates: int
    states: int = 1

    def __init__(self, inputs: int, hidden: int, *, rng: np.random.Generator) -> None:
        rows, bound = self.gates * hidden, hidden**-0.5
        shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, hidden), "bias_ih": (rows,), "bias_hh": (rows,)}
        super().__init__(**{name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()})
        self.hidden = hidden
        self.final: States = ()
        self.dstart: States = ()

    @abstractmethod
    def cell(self, a: Float[Array, "b gates"], c: Float[Array, "b gates"], state: States) -> tuple[States, Any]:
        """Return the next state, and what `cell_back` needs."""

    @abstractmethod
    def cell_back(self, dstate: States, memo: Any) -> tuple[Array, Array, States]:
        """Return da, dc and the gradient that reaches the previous state otherwise than through c."""

    def forward(
        self, x: Float[Array, "batch time inputs"], start: States | None = None
    ) -> Float[Array, "batch time hidden"]:
        """Return h_1 … h_T.

        Args:
            x: sequences.
            start: the state before the first moment; zeros when left out.

        Raises:
            GradusError: if x_t is of another length, or `start` is not of this layer's shape.
        """
        batch, time, inputs = x.shape
        if inputs != self.params["weight_ih"].shape[1]:
            raise GradusError(f"{self!r} takes {self.params['weight_ih'].shape[1]} inputs, but was given {inputs}")
        state = start if start is not None else (np.zeros((batch, self.hidden), x.dtype),) * self.states
        if [h.shape for h in state] != [(batch, self.hidden)] * self.states:
            raise GradusError(f"a state of {type(self).__name__} is {self.states} × ({batch}, {self.hidden}) here")
        a = x @ self.params["weight_ih"].T + self.params["bias_ih"]
        h = np.empty((batch, time + 1, self.hidden), x.dtype)
        h[:, 0] = state[0]
        memos = []
        for t in range(time):
            c = state[0] @ self.params["weight_hh"].T + self.params["bias_hh"]
            state, memo = self.cell(a[:, t], c, state)
            h[:, t + 1] = state[0]
            memos.append(memo)
        self.keep(x, h, memos)
        self.final = state
        return h[:, 1:]

    def backward(
        self, dy: Float[Array, "batch time hidden"], dfinal: States | None = None
    ) -> Float[Array, "batch time inputs"]:
        """Return dx, having walked back through time.

        Args:
            dy: gradient with respect to every h_t, as an output.
            dfinal: gradient with respect to `final`, beside that of h_T as an output; zeros when left out.
        """
        x, h, memos = self.kept
        dstate = dfinal if dfinal is not None else (np.zeros_like(h[:, 0]),) * self.states
        da = np.empty((*dy.shape[:2], self.gates * self.hidden), dy.dtype)
        dc = np.empty_like(da)
        for t in reversed(range(dy.shape[1])):
            dstate = (dstate[0] + dy[:, t], *dstate[1:])
            da[:, t], dc[:, t], direct = self.cell_back(dstate, memos[t])
            dstate = (direct[0] + dc[:, t] @ self.params["weight_hh"], *direct[1:])
        self.dstart = dstate
        rows_a, rows_c = da.reshape(-1, da.shape[2]), dc.reshape(-1, dc.shape[2])
        self.grads["weight_ih"] = rows_a.T @ x.reshape(-1, x.shape[2])
        self.grads["weight_hh"] = rows_c.T @ h[:, :-1].reshape(-1, self.hidden)
        self.grads["bias_ih"], self.grads["bias_hh"] = rows_a.sum(0), rows_c.sum(0)
        return da @ self.params["weight_ih"]


class RNN(Recurrent):
    """h_t = tanh(a_t + c_t); da = dc = (1 − h_t²) dh, and nothing reaches h_{t−1} otherwise.

    Over many moments the gradient is a product of as many (1 − h²) W_hh, and so it vanishes or explodes.
    """

    gates = 1

    def cell(self, a: Float[Array, "b gates"], c: Float[Array, "b gates"], state: States) -> tuple[States, Any]:
        """Return h_t."""
        h = np.tanh(a + c)
        return (h,), h

    def cell_back(self, dstate: States, memo: Any) -> tuple[Array, Array, States]:
        """Return (1 − h²) dh twice."""
        d = dstate[0] * (1 - memo * memo)
        return d, d, (np.zeros_like(d),)


class LSTM(Recurrent):
    """A cell state s that is added to, so that its gradient flows back through the forget gate alone.

    i, f, o = σ(·), g = tanh(·) of a_t + c_t;    s_t = f s_{t−1} + i g;    h_t = o tanh s_t

    ds = ds_t + dh o (1 − tanh² s_t);    ds_{t−1} = f ds
    di = ds g i (1 − i),   df = ds s_{t−1} f (1 − f),   dg = ds i (1 − g²),   do = dh tanh(s_t) o (1 − o)
    """

    gates = 4
    states = 2

    def cell(self, a: Float[Array, "b gates"], c: Float[Array, "b gates"], state: States) -> tuple[States, Any]:
        """Return (h_t, s_t)."""
        total, before = a + c, state[1]
        i, f, candidate, o = np.split(total, 4, axis=1)
        i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(candidate)
        s = f * before + i * g
        bounded = np.tanh(s)
        return (o * bounded, s), (i, f, g, o, bounded, before)

    def cell_back(self, dstate: States, memo: Any) -> tuple[Array, Array, States]:
        """Return the gates' gradients twice, and f ds."""
        i, f, g, o, bounded, before = memo
        dh, ds = dstate
        ds = ds + dh * o * (1 - bounded * bounded)
        parts = (ds * g * i * (1 - i), ds * before * f * (1 - f), ds * i * (1 - g * g), dh * bounded * o * (1 - o))
        d = np.concatenate(parts, axis=1)
        return d, d, (np.zeros_like(dh), f * ds)


class GRU(Recurrent):
    """A gate that mixes the old state with a new candidate.

    r = σ(a_r + c_r),   z = σ(a_z + c_z),   n = tanh(a_n + r c_n);    h_t = (1 − z) n + z h_{t−1}

    With e = dh (1 − z) (1 − n²), the gradient inside the tanh:  da_n = e,  dc_n = e r,  dr = e c_n r (1 − r),
    dz = dh (h_{t−1} − n) z (1 − z), and z dh reaches h_{t−1} directly. Only the candidate's da and dc differ.
    """

    gates = 3

    def cell(self, a: Float[Array, "b gates"], c: Float[Array, "b gates"], state: States) -> tuple[States, Any]:
        """Return h_t."""
        (before,) = state
        a_r, a_z, a_n = np.split(a, 3, axis=1)
        c_r, c_z, c_n = np.split(c, 3, axis=1)
        r, z = sigmoid(a_r + c_r), sigmoid(a_z + c_z)
        n = np.tanh(a_n + r * c_n)
        return ((1 - z) * n + z * before,), (r, z, n, c_n, before)

    def cell_back(self, dstate: States, memo: Any) -> tuple[Array, Array, States]:
        """Return da, dc and z dh."""
        r, z, n, c_n, before = memo
        (dh,) = dstate
        inner = dh * (1 - z) * (1 - n * n)
        dr, dz = inner * c_n * r * (1 - r), dh * (before - n) * z * (1 - z)
        return np.concatenate((dr, dz, inner), axis=1), np.concatenate((dr, dz, inner * r), axis=1), (z * dh,)
