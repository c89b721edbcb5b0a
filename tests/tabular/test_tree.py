"""Decision trees: the maximal gain, by hand and by brute force; rules, importance, cuts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.tabular.decision_tree import tree

# Outlook (sunny, overcast, rain), humidity high, windy, play: fourteen Saturdays, after Quinlan's example.
SATURDAYS = [
    ("sunny", 1, 0, 0), ("sunny", 1, 1, 0), ("overcast", 1, 0, 1), ("rain", 1, 0, 1), ("rain", 0, 0, 1),
    ("rain", 0, 1, 0), ("overcast", 0, 1, 1), ("sunny", 1, 0, 0), ("sunny", 0, 0, 1), ("rain", 0, 0, 1),
    ("sunny", 0, 1, 1), ("overcast", 1, 1, 1), ("overcast", 0, 0, 1), ("rain", 1, 1, 0),
]  # fmt: skip
QUESTIONS = ("sunny", "overcast", "rain", "humid", "windy")


def saturdays():
    x = [[o == "sunny", o == "overcast", o == "rain", h, w] for o, h, w, _ in SATURDAYS]
    return torch.tensor(x, dtype=torch.float64), torch.tensor([row[-1] for row in SATURDAYS])


def entropy(*counts):
    return -sum(c / sum(counts) * math.log2(c / sum(counts)) for c in counts if c)


def test_the_first_question_has_the_most_information_as_computed_by_hand():
    x, y = saturdays()
    grown = tree(x, y, criterion="entropy")
    by_hand = {
        "sunny": entropy(5, 9) - 5 / 14 * entropy(3, 2) - 9 / 14 * entropy(2, 7),
        "overcast": entropy(5, 9) - 4 / 14 * entropy(0, 4) - 10 / 14 * entropy(5, 5),
        "rain": entropy(5, 9) - 5 / 14 * entropy(2, 3) - 9 / 14 * entropy(3, 6),
        "humid": entropy(5, 9) - 7 / 14 * entropy(4, 3) - 7 / 14 * entropy(1, 6),
        "windy": entropy(5, 9) - 6 / 14 * entropy(3, 3) - 8 / 14 * entropy(2, 6),
    }
    assert by_hand["overcast"] == max(by_hand.values())
    assert QUESTIONS[int(grown.feature[0])] == "overcast"
    assert float(grown.gain[0]) == pytest.approx(by_hand["overcast"])
    assert float(grown.gain[0]) == pytest.approx(0.2260, abs=1e-4)
    assert (grown(x).argmax(1) == y).all()


IMPURITIES = {
    "gini": lambda y: 1 - sum((y == k).double().mean() ** 2 for k in (0, 1, 2)),
    "entropy": lambda y: entropy(*torch.bincount(y, minlength=3).tolist()),
    "variance": lambda y: y.var(correction=0),
}


def best_by_brute_force(x, y, impurity, min_leaf):
    """Return the largest gain of any question."""
    gains = [0.0]
    for column in x.T:
        for threshold in column.unique()[:-1].tolist():
            below = column <= threshold
            if min(below.sum(), (~below).sum()) >= min_leaf:
                share = below.double().mean()
                gains.append(float(impurity(y) - share * impurity(y[below]) - (1 - share) * impurity(y[~below])))
    return max(gains)


@given(
    st.sampled_from(sorted(IMPURITIES)), st.integers(4, 25), st.integers(1, 4), st.integers(2, 6), st.integers(1, 3),
    st.integers(0, 9999),
)  # fmt: skip
@settings(deadline=None, max_examples=120)
def test_every_question_has_the_largest_gain_there_is(criterion, count, features, values, min_leaf, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(values, (count, features), generator=generator).double()
    y = torch.randint(3, (count,), generator=generator)
    y = y.double() if criterion == "variance" else y
    kinds = {} if criterion == "variance" else {"classes": 3}
    grown = tree(x, y, criterion=criterion, min_leaf=min_leaf, **kinds)
    inside = [torch.arange(count)] + [torch.empty(0, dtype=torch.int64)] * (len(grown.feature) - 1)
    for node in range(len(grown.feature)):
        own, impurity = inside[node], IMPURITIES[criterion]
        best = best_by_brute_force(x[own], y[own], impurity, min_leaf)
        if int(grown.feature[node]) < 0:
            assert best < 1e-9
            continue
        assert float(grown.gain[node]) == pytest.approx(best, abs=1e-9)
        below = x[own, grown.feature[node]] <= grown.threshold[node]
        for child, part in zip(grown.child[node].tolist(), (own[below], own[~below]), strict=True):
            assert len(part) >= min_leaf
            inside[child] = part
    assert torch.equal(grown.apply_rows(x), _leaf_of(inside, grown, count))


def _leaf_of(inside, grown, count):
    leaf = torch.empty(count, dtype=torch.int64)
    for node, own in enumerate(inside):
        if int(grown.feature[node]) < 0:
            leaf[own] = node
    return leaf


def test_a_cut_is_the_tree_grown_to_that_depth():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    y = ((x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5)).long()
    whole = tree(x, y)
    for depth in range(1, whole.depth + 1):
        cut, grown = whole.cut(depth), tree(x, y, max_depth=depth)
        assert cut.depth == grown.depth == depth
        assert torch.equal(cut(x), grown(x))
        assert torch.equal(cut.importance(), grown.importance())


def test_leaves_give_laplaces_estimate():
    x = torch.tensor([[0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    grown = tree(x, torch.tensor([0, 0, 1, 1]), classes=3)
    assert torch.allclose(grown(x)[0].exp(), torch.tensor([3, 2, 1]).double() / 6)
    assert torch.allclose(grown(x)[3].exp(), torch.tensor([1, 2, 1]).double() / 4)


def test_importance_is_shared_among_the_features_that_matter():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(500, 3, generator=generator, dtype=torch.float64)
    y = 4 * x[:, 0] + x[:, 2]
    shares = tree(x, y, max_depth=4).importance()
    assert float(shares.sum()) == pytest.approx(1)
    assert shares[0] > 0.8 > shares[2] > shares[1]


def test_rules_say_what_the_tree_does():
    x, y = saturdays()
    grown = tree(x, y, criterion="entropy", max_depth=2)
    told = grown.rules(
        lambda f, t, above: QUESTIONS[f] if above else f"not {QUESTIONS[f]}",
        lambda value: ("stay", "play")[int(value.argmax())],
    )
    assert told.splitlines() == [
        "not overcast", "    not humid: play  (5)", "    humid: stay  (5)", "overcast: play  (4)",
    ]  # fmt: skip
    constant = torch.zeros(3, 2, dtype=torch.float64)
    assert tree(constant, torch.tensor([1, 1, 1])).rules(lambda f, t, a: "", lambda v: "yes") == "always yes  (3)"


def test_numbers_far_from_zero_do_not_cancel():
    x = torch.arange(8, dtype=torch.float64)[:, None]
    y = 1e9 + (x[:, 0] > 3).double() * 1e-3
    grown = tree(x, y)
    assert grown.leaves == 2
    assert float(grown.threshold[0]) == 3.5


def test_a_threshold_lies_between_neighbours_that_are_as_near_as_can_be():
    low = 1.0
    high = math.nextafter(low, 2)
    x = torch.tensor([[low], [high]], dtype=torch.float64)
    assert tree(x, torch.tensor([0, 1]))(x).argmax(1).tolist() == [0, 1]


def test_limits_are_kept_and_mistakes_refused():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(100, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (100,), generator=generator)
    assert tree(x, y, max_depth=3).depth <= 3
    leafy = tree(x, y, min_leaf=10)
    assert float(leafy.weight[leafy.feature < 0].min()) >= 10
    assert tree(x, y, min_gain=0.5).leaves == 1
    with pytest.raises(GradusError, match="'variance' does not fit these targets: take gini or entropy"):
        tree(x, y, criterion="variance")
    with pytest.raises(GradusError, match="'gini' does not fit these targets: take variance"):
        tree(x, y.double(), criterion="gini")
    with pytest.raises(GradusError, match="must be positive"):
        tree(x, y, max_depth=0)
    with pytest.raises(GradusError, match="labels are from 0 to 0"):
        tree(x, y, classes=1)
