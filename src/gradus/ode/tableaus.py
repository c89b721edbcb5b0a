"""Runge–Kutta methods as data: a tableau says everything a stepper needs to know.

    Y_i = y_n + h Σ_j a_ij k_j,    k_i = f(t_n + c_i h, Y_i),    y_{n+1} = y_n + h Σ_i b_i k_i

A row of `a` that ends before its diagonal is an explicit stage; one that holds a diagonal entry γ is an equation for
its own stage, which Newton's method solves. `error` holds b − b̂ of an embedded method, so that h Σ e_i k_i estimates
the local error; `mid` holds the weights of an approximation at t_n + h/2, from which the dense output is made:

    y(t_n + θh) ≈ y_n + h Σ_i p_i(θ) k_i,    p a polynomial of degree 4 (with `mid`), 3 (Hermite) or 1

References:
    Hairer, Nørsett and Wanner 1993, Solving ordinary differential equations I, chapter II.
    Hairer and Wanner 1996, Solving ordinary differential equations II, sections IV.2 and IV.6.
    Shampine 1986, Some practical Runge–Kutta formulas (the dense output of Dormand and Prince's pair).
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

from gradus import canon as registry
from gradus.canon import canon

__all__ = ["Tableau", "make"]

Row = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Tableau:
    """A Runge–Kutta method whose implicit stages, if any, stand on the diagonal.

    Attributes:
        name: what users type.
        order: p, so that the global error is O(h^p).
        a: stage i's weights of k_1 … k_{i−1}, and of k_i itself where the stage is implicit.
        b: weights of the result.
        c: times of the stages, as fractions of the step.
        error: b − b̂, for methods that choose their own steps.
        embedded: q, so that the estimate of the local error is O(h^{q+1}).
        mid: weights of the value half-way.
    """

    name: str
    order: int
    a: tuple[Row, ...]
    b: Row
    c: Row
    error: Row | None = None
    embedded: int = 0
    mid: Row | None = None

    @property
    def stages(self) -> int:
        """Number of stages s."""
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        """Whether the method estimates its error and so can choose its steps."""
        return self.error is not None

    @cached_property
    def explicit(self) -> bool:
        """Whether no stage is an equation for itself."""
        return all(self.diagonal(i) == 0 for i in range(self.stages))

    @cached_property
    def stiffly_accurate(self) -> bool:
        """Whether the last stage is the result: a_s = b and c_s = 1."""
        padded = self.a[-1] + (0.0,) * (self.stages - len(self.a[-1]))
        return padded == self.b and self.c[-1] == 1

    @cached_property
    def starts_explicitly(self) -> bool:
        """Whether the first stage is the derivative at the start of the step."""
        return self.c[0] == 0 and self.diagonal(0) == 0

    @cached_property
    def fsal(self) -> bool:
        """Whether the last derivative of a step is the first of the next ("first same as last")."""
        return self.stages > 1 and self.stiffly_accurate and self.starts_explicitly

    @cached_property
    def slope_needed(self) -> bool:
        """Whether the dense output asks for f(t_{n+1}, y_{n+1}) beyond the stages."""
        return self.starts_explicitly and not self.fsal

    def diagonal(self, i: int) -> float:
        """Return a_ii: 0 where stage i is explicit."""
        return self.a[i][i] if len(self.a[i]) > i else 0.0

    @cached_property
    def interpolant(self) -> tuple[Row, ...]:
        """Coefficients of θ, θ², … of every p_i; with `slope_needed`, one more row for f(t_{n+1}, y_{n+1})."""
        if not self.starts_explicitly:
            return tuple((weight,) for weight in self.b)
        rows = self.stages + self.slope_needed
        b = (*self.b, 0.0)[:rows]
        first = [float(i == 0) for i in range(rows)]
        last = [float(i == rows - 1) for i in range(rows)]
        if self.mid is None:
            return tuple((f, 3 * w - 2 * f - g, f + g - 2 * w) for w, f, g in zip(b, first, last, strict=True))
        mid = (*self.mid, 0.0)[:rows]
        return tuple(
            (f, 16 * m - 5 * w - 4 * f + g, 14 * w - 32 * m + 5 * f - 3 * g, 16 * m - 8 * w - 2 * f + 2 * g)
            for w, m, f, g in zip(b, mid, first, last, strict=True)
        )

    def dense_weights(self, theta: float) -> list[float]:
        """Return p_i(θ) for every row of the interpolant."""
        return [theta * math.fsum(p * theta**power for power, p in enumerate(row)) for row in self.interpolant]

    def growth(self, z: float) -> float:
        """Return R(z) for real z: what one step multiplies y by when y' = λy and z = hλ."""
        slopes: list[float] = []
        for i, row in enumerate(self.a):
            explicit = math.fsum(weight * slope for weight, slope in zip(row[:i], slopes, strict=False))
            slopes.append(z * (1 + explicit) / (1 - z * self.diagonal(i)))
        return 1 + math.fsum(weight * slope for weight, slope in zip(self.b, slopes, strict=True))

    @cached_property
    def stability(self) -> float:
        """The largest r with |R(z)| ≤ 1 for all z in [−r, 0]: the limit of h|λ| on the negative axis."""
        slack, stride = 1 + 1e-9, 1 / 16
        if not self.explicit and all(abs(self.growth(-(2.0**power))) <= slack for power in range(-6, 40)):
            return math.inf
        low = 0.0
        while abs(self.growth(-(low + stride))) <= slack:
            low += stride
        high = low + stride
        while high - low > 1e-12:
            middle = (low + high) / 2
            low, high = (middle, high) if abs(self.growth(-middle)) <= slack else (low, middle)
        return low


@cache
def make(name: str) -> Tableau:
    """Return the tableau that a user's name means.

    Raises:
        GradusError: for an unknown name, with the nearest known one.
    """
    return registry.load(registry.lookup("solver", name, "ODE solver"))()


@canon("ode/euler", kind="solver", paper="Euler 1768, Institutionum calculi integralis")
def euler() -> Tableau:
    """Euler's method, order 1: y + h f(t, y)."""
    return Tableau("euler", 1, a=((),), b=(1.0,), c=(0.0,))


@canon("ode/midpoint", kind="solver", paper="Runge 1895, Über die numerische Auflösung von Differentialgleichungen")
def midpoint() -> Tableau:
    """The explicit midpoint rule, order 2: y + h f(t + h/2, y + h/2 f(t, y))."""
    return Tableau("midpoint", 2, a=((), (1 / 2,)), b=(0.0, 1.0), c=(0.0, 1 / 2))


@canon("ode/heun", kind="solver", paper="Heun 1900, Neue Methode zur approximativen Integration")
def heun() -> Tableau:
    """Heun's explicit trapezoidal rule, order 2: the mean of the slopes at both ends of an Euler step."""
    return Tableau("heun", 2, a=((), (1.0,)), b=(1 / 2, 1 / 2), c=(0.0, 1.0))


@canon(
    "ode/rk4",
    kind="solver",
    paper="Kutta 1901, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen",
)
def rk4() -> Tableau:
    """The classical Runge–Kutta method, order 4 with four stages."""
    a: tuple[Row, ...] = ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0))
    return Tableau("rk4", 4, a=a, b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), c=(0.0, 1 / 2, 1 / 2, 1.0))


@canon("ode/bosh3", kind="solver", paper="Bogacki and Shampine 1989, A 3(2) pair of Runge–Kutta formulas")
def bosh3() -> Tableau:
    """Bogacki and Shampine's pair, order 3 with an error estimate of order 2; chooses its steps."""
    b = (2 / 9, 1 / 3, 4 / 9, 0.0)
    second = (7 / 24, 1 / 4, 1 / 3, 1 / 8)
    return Tableau(
        "bosh3",
        3,
        a=((), (1 / 2,), (0.0, 3 / 4), b[:3]),
        b=b,
        c=(0.0, 1 / 2, 3 / 4, 1.0),
        error=_difference(b, second),
        embedded=2,
    )


@canon("ode/dopri5", kind="solver", paper="Shampine 1986, Some practical Runge–Kutta formulas")
def dopri5() -> Tableau:
    """Dormand and Prince's order 5 with Shampine's error estimate of order 4; chooses its steps."""
    fourth = (1951 / 21600, 0.0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60)
    return _dormand_prince("dopri5", fourth)


@canon("ode/rk45", kind="solver", paper="Dormand and Prince 1980, A family of embedded Runge–Kutta formulae")
def rk45() -> Tableau:
    """Dormand and Prince's order 5 with their own, larger, error estimate of order 4; chooses its steps."""
    fourth = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
    return _dormand_prince("rk45", fourth)


def _dormand_prince(name: str, fourth: Row) -> Tableau:
    """Return the method of order 5 beside one of order 4."""
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)
    a: tuple[Row, ...] = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        b[:6],
    )
    mid = (
        6025192743 / 60171106304,
        0.0,
        51252292925 / 130801643196,
        -2691868925 / 90256659456,
        187940372067 / 3189068634112,
        -1776094331 / 39487288512,
        11237099 / 470086768,
    )
    c = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
    return Tableau(name, 5, a=a, b=b, c=c, error=_difference(b, fourth), embedded=4, mid=mid)


@canon("ode/implicit_euler", kind="solver", paper="Curtiss and Hirschfelder 1952, Integration of stiff equations")
def implicit_euler() -> Tableau:
    """The implicit Euler method, order 1 and L-stable: y_{n+1} = y_n + h f(t_{n+1}, y_{n+1})."""
    return Tableau("implicit_euler", 1, a=((1.0,),), b=(1.0,), c=(1.0,))


@canon("ode/trapezoid", kind="solver", paper="Dahlquist 1963, A special stability problem for linear multistep methods")
def trapezoid() -> Tableau:
    """The implicit trapezoidal rule (Crank–Nicolson), order 2 and A-stable."""
    return Tableau("trapezoid", 2, a=((), (1 / 2, 1 / 2)), b=(1 / 2, 1 / 2), c=(0.0, 1.0))


@canon("ode/trbdf2", kind="solver", paper="Hosea and Shampine 1996, Analysis and implementation of TR-BDF2")
def trbdf2() -> Tableau:
    """TR-BDF2, order 2 and L-stable, with an error estimate; chooses its steps on stiff problems."""
    w, d = math.sqrt(2) / 4, 1 - math.sqrt(2) / 2
    b = (w, w, d)
    third = ((1 - w) / 3, (3 * w + 1) / 3, d / 3)
    return Tableau(
        "trbdf2", 2, a=((), (d, d), b), b=b, c=(0.0, 2 - math.sqrt(2), 1.0), error=_difference(b, third), embedded=2
    )


def _difference(b: Row, embedded: Row) -> Row:
    return tuple(weight - other for weight, other in zip(b, embedded, strict=True))
