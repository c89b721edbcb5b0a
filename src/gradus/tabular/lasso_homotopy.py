"""The whole lasso path, exactly, by homotopy: it is piecewise linear in α, and every kink is found.

    w(α) = argmin 1/(2n) ‖y − Xw‖² + α ‖w‖₁          G = XᵀX/n,  q = Xᵀy/n,  c = q − Gw
    on a segment, with active set A and signs s:     w_A(α) = G_AA⁻¹ (q_A − α s_A),   c(α) = r + α a
    it ends where some |c_j(α)| reaches α (j joins) or some w_j(α) reaches 0 (j leaves)

Every segment is solved anew from q and s, so no rounding error piles up along the path. G_AA⁻¹ is bordered when a
feature joins and deflated when one leaves, O(|A|²) both; the residual of every solve comes for nothing with c(α), and
tells when the inverse has to be made anew.

References:
    Osborne, Presnell and Turlach 2000, A new approach to variable selection in least squares problems.
    Efron, Hastie, Johnstone and Tibshirani 2004, Least angle regression.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gradus.errors import GradusError
from gradus.tabular.linear import Affine, centred

__all__ = ["LassoPath", "lasso_path"]

Matrix = Float64[np.ndarray, "..."]
TIE = 1e-10
DEPENDENT = 1e-12
NEARLY = 1e-6
LOOSE = 1e-12
TINY = 1e-14


@dataclass(frozen=True)
class LassoPath:
    """The kinks of a lasso path, from the α at which the first feature joins downwards.

    Attributes:
        alphas: α of each kink, decreasing.
        weights: w there.
        biases: b there.
    """

    alphas: Float[Tensor, " kinks"]
    weights: Float[Tensor, "kinks features"]
    biases: Float[Tensor, " kinks"]

    def at(self, alpha: float) -> Affine:
        """Return the exact solution for an α, between kinks by their linear course.

        Raises:
            GradusError: if the path was not followed so far down.
        """
        low = float(self.alphas[-1])
        if not alpha >= low:
            raise GradusError(f"the path ends at alpha {low:g}: follow it down to {alpha:g} by min_alpha")
        below = int((self.alphas > alpha).sum())
        if below == 0:
            return Affine(self.weights[:1].clone(), self.biases[:1].clone())
        upper, lower = float(self.alphas[below - 1]), float(self.alphas[below])
        share = (upper - alpha) / (upper - lower)
        weight = torch.lerp(self.weights[below - 1], self.weights[below], share)
        return Affine(weight[None], torch.lerp(self.biases[below - 1], self.biases[below], share)[None])


def lasso_path(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    *,
    min_alpha: float = 0.0,
    max_kinks: int | None = None,
    weights: Float[Tensor, " rows"] | None = None,
) -> LassoPath:
    """Return every kink of the lasso path min 1/(2n) Σ_i (y_i − w·x_i − b)² + α ‖w‖₁ down to an α.

    Args:
        x: features.
        y: targets.
        min_alpha: where to stop.
        max_kinks: stop after this many kinks.
        weights: of the rows; n is then their sum.

    Raises:
        GradusError: if `min_alpha` is negative, or the rows cannot be learned from.
    """
    if not min_alpha >= 0:
        raise GradusError(f"the penalty alpha cannot be negative, got {min_alpha}")
    rows = centred(x, y, weights)
    count = float(len(x) if weights is None else weights.double().sum())
    homotopy = _Homotopy((rows.x / math.sqrt(count)).numpy(), (rows.y / math.sqrt(count)).numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        homotopy.follow(min_alpha, max_kinks or 8 * max(x.shape))
    coefficients = torch.from_numpy(np.stack(homotopy.found))
    biases = rows.y_mean - coefficients @ rows.x_mean
    return LassoPath(torch.tensor(homotopy.alphas, dtype=torch.float64), coefficients, biases)


class _Homotopy:
    """The state of the walk: the active features with their signs, and the inverse H of their Gram matrix.

    It is walked in NumPy: a segment is a dozen small operations, and those start sooner there than in torch.
    """

    def __init__(self, x: Matrix, y: Matrix) -> None:
        self.x, self.q = x, x.T @ y
        features = x.shape[1]
        self.gram = x.T @ x if features <= len(x) else None
        most = min(features, len(x) - 1)  # the rank of centred rows
        self.active: list[int] = []
        self.columns = np.zeros((most, features))  # row i is the Gram column of active feature i
        self.inverse = np.zeros((most, most))
        self.targets = np.zeros((2, most))  # q and s of the active features
        self.out = np.ones(features, dtype=bool)  # neither active nor dependent on the active ones
        self.alphas: list[float] = []
        self.found: list[Matrix] = []

    def follow(self, min_alpha: float, max_kinks: int) -> None:
        """Walk down to `min_alpha`, noting every kink."""
        last = int(np.abs(self.q).argmax())
        alpha = float(abs(self.q[last]))
        self._note(max(alpha, min_alpha), np.zeros(0))
        if alpha <= max(min_alpha, TINY):
            return
        sign, joined = float(np.sign(self.q[last])), True
        self._join(last, sign)
        while len(self.alphas) < max_kinks:
            solved, lines = self._segment()
            value, feature, joins, side = self._event(solved, lines, alpha, last, joined, sign)
            alpha = max(min(value, alpha), min_alpha)
            self._note(alpha, solved[0] - alpha * solved[1], None if joins or value <= min_alpha else feature)
            if value <= min_alpha:
                return
            if joins:
                self._join(feature, side)
            else:
                side = self._leave(feature)
            last, joined, sign = feature, joins, side

    def _segment(self) -> tuple[Matrix, Matrix]:
        """Return w₀ and u of the present segment, w_A(α) = w₀ − α u, and the same two times G.

        The entries of the latter at A must give back q_A and s: where they do not, the solution is refined, and where
        that is not enough, H is made anew.
        """
        k = len(self.active)
        targets = self.targets[:, :k]
        solved = targets @ self.inverse[:k, :k]
        lines = solved @ self.columns[:k]
        for attempt in range(3):
            residual = targets - lines[:, self.active]
            if np.abs(residual).max() <= LOOSE * np.abs(targets).max():
                break
            if attempt == 1:
                self._invert()
            solved = solved + residual @ self.inverse[:k, :k]
            lines = solved @ self.columns[:k]
        return solved, lines

    def _event(
        self, solved: Matrix, lines: Matrix, alpha: float, last: int, joined: bool, sign: float
    ) -> tuple[float, int, bool, float]:
        """Return the α of the next kink, its feature, whether it joins, and with which sign."""
        rest, tilt = self.q - lines[0], lines[1]
        meets = np.stack([rest / (1 - tilt), -rest / (1 + tilt)])
        meets[~(meets <= alpha * (1 + TIE))] = -1.0
        meets[:, ~self.out] = -1.0
        if not joined:
            meets[0 if sign > 0 else 1, last] = -1.0  # it stands on that border still
        place = int(meets.argmax())
        side, feature = divmod(place, len(self.q))
        zeros = solved[0] / solved[1]
        zeros[~(zeros <= alpha * (1 + TIE))] = -1.0
        if joined and self.active[-1] == last:
            zeros[-1] = -1.0
        gone = int(zeros.argmax())
        if zeros[gone] > meets[side, feature]:
            return float(zeros[gone]), self.active[gone], False, 0.0
        return float(meets[side, feature]), feature, True, 1.0 if side == 0 else -1.0

    def _join(self, feature: int, sign: float) -> None:
        """Add a feature, unless it is a combination of the active ones, in which case it waits."""
        k = len(self.active)
        self.out[feature] = False
        column = self.gram[feature] if self.gram is not None else self.x.T @ self.x[:, feature]
        if k == len(self.inverse):
            return
        border, pivot = self._border(column, feature)
        if pivot <= NEARLY * column[feature]:
            self._invert()
            border, pivot = self._border(column, feature)
        if pivot <= DEPENDENT * column[feature]:
            return
        self.inverse[:k, :k] += np.outer(border, border / pivot)
        self.inverse[k, :k] = self.inverse[:k, k] = -border / pivot
        self.inverse[k, k] = 1 / pivot
        self.columns[k] = column
        self.targets[:, k] = self.q[feature], sign
        self.active.append(feature)

    def _border(self, column: Matrix, feature: int) -> tuple[Matrix, float]:
        """Return G_AA⁻¹ g and what of ‖x_j‖² the active features do not explain."""
        k = len(self.active)
        border = self.inverse[:k, :k] @ column[self.active]
        return border, float(column[feature] - border @ column[self.active])

    def _invert(self) -> None:
        """Make H anew."""
        k = len(self.active)
        if k:
            self.inverse[:k, :k] = np.linalg.inv(self.columns[:k, self.active])

    def _leave(self, feature: int) -> float:
        """Remove a feature and return its sign; those that depended on it may join again."""
        at, k = self.active.index(feature), len(self.active)
        sign = float(self.targets[1, at])
        own = self.inverse[:k, :k]
        own -= np.outer(own[at], own[at] / own[at, at])
        own[at : k - 1] = own[at + 1 :]
        own[:, at : k - 1] = own[:, at + 1 :]
        self.columns[at : k - 1] = self.columns[at + 1 : k]
        self.targets[:, at : k - 1] = self.targets[:, at + 1 : k]
        del self.active[at]
        self.out[:] = True
        self.out[self.active] = False
        return sign

    def _note(self, alpha: float, values: Matrix, gone: int | None = None) -> None:
        """Note a kink: w there, exactly zero where a feature leaves."""
        weights = np.zeros_like(self.q)
        weights[self.active] = values
        if gone is not None:
            weights[gone] = 0.0
        self.alphas.append(alpha)
        self.found.append(weights)
