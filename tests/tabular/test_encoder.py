"""The encoder: fitted on the training rows only, differentiable, and the same after JSON."""

import json

import pytest
import torch

from gradus.data.table import Table, TableSchema
from gradus.data.table_columns import Column
from gradus.errors import GradusError
from gradus.tabular.encoder import Encoder, fit_encoder
from gradus.tabular.wording import condition

NAN = float("nan")
SCHEMA = TableSchema(
    (Column("a", "number"), Column("c", "category", ("x", "y", "z")), Column("b", "number")), "t", ("0", "1"),
    ("a", "c", "b", "t"),
)  # fmt: skip


def table(rows):
    values = torch.tensor(rows, dtype=torch.float64)
    return Table(SCHEMA, values, torch.zeros(len(rows), dtype=torch.int64), torch.arange(len(rows)))


TRAIN = table([[1, 0, 5], [3, 1, NAN], [NAN, 0, 5], [3, NAN, 9], [8, 1, 5]])


def names(encoder):
    return encoder.names(SCHEMA.features, SCHEMA.categories)


def test_features_by_hand():
    encoder = fit_encoder(TRAIN)
    assert names(encoder) == (
        "a", "b", "a is missing", "b is missing", "c = x", "c = y", "c is missing",
    )  # fmt: skip
    found = encoder(TRAIN.values)
    assert found[:, :2].mean(0).abs().max() < 1e-12
    assert torch.allclose(found[:, :2].std(0, correction=0), torch.ones(2, dtype=torch.float64))
    a = torch.tensor([1.0, 3, 3, 3, 8], dtype=torch.float64)  # the missing one is the median
    assert torch.allclose(found[:, 0], (a - a.mean()) / a.std(correction=0))
    assert found[:, 2:].tolist() == [
        [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0],
    ]  # fmt: skip


def test_what_training_did_not_see_is_zero():
    encoder = fit_encoder(TRAIN)
    found = encoder(torch.tensor([[3.0, 2, 5], [3, -1, 5]], dtype=torch.float64))
    assert found[:, 4:].abs().sum() == 0


def test_only_the_rows_it_is_given_count():
    few = fit_encoder(TRAIN.take(torch.tensor([0, 1])))
    assert names(few) == ("a", "b", "b is missing", "c = x", "c = y")
    assert few.numbers[0][1:3] == (1.0, 2.0)  # the lower median, and the mean


def test_rare_categories_count_as_unknown():
    encoder = fit_encoder(table([[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 2, 0]]), most_categories=1)
    assert names(encoder) == ("a", "b", "c = y")


def test_crosses_are_products():
    encoder = fit_encoder(TRAIN, crosses=("a*b", "a*c"))
    found = dict(zip(names(encoder), encoder(TRAIN.values).T, strict=True))
    assert torch.allclose(found["a × b"], found["a"] * found["b"])
    assert torch.allclose(found["a × c = x"], found["a"] * found["c = x"])
    assert "a is missing × b is missing" not in found  # never other than zero


def test_crosses_of_categories_are_joint_categories():
    schema = TableSchema(
        (Column("p", "category", ("u", "v")), Column("q", "category", ("x", "y"))), "t", ("0", "1"), ("p", "q", "t")
    )
    values = torch.tensor([[0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    own = Table(schema, values, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    encoder = fit_encoder(own, crosses=("p*q",))
    called = encoder.names(schema.features, schema.categories)[4:]
    assert called == ("p = u × q = x", "p = u × q = y", "p = v × q = y")
    assert encoder(values)[:, 4:].tolist() == torch.eye(3).tolist()


def test_three_factors_and_powers():
    encoder = fit_encoder(TRAIN, crosses=("a*a*b",))
    found = dict(zip(names(encoder), encoder(TRAIN.values).T, strict=True))
    assert torch.allclose(found["a × a × b"], found["a"] ** 2 * found["b"])


def test_crosses_that_mean_nothing_are_refused():
    for cross, said in (("a*d", "no column 'd'"), ("a", "joined by")):
        with pytest.raises(GradusError, match=said):
            fit_encoder(TRAIN, crosses=(cross,))


def test_json_keeps_every_digit():
    encoder = fit_encoder(TRAIN, crosses=("a*c",))
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    assert torch.equal(again(TRAIN.values), encoder(TRAIN.values))


def test_large_numbers_keep_their_digits():
    rows = [[1.6e9 + i, 0, 0] for i in range(10)]
    found = fit_encoder(table(rows))(table(rows).values)[:, 0]
    assert torch.allclose(found.diff(), found.diff()[0].expand(9))


def test_it_is_differentiable_in_numbers():
    encoder = fit_encoder(TRAIN)
    rows = torch.tensor([[2.0, 0, 6]], dtype=torch.float64, requires_grad=True)
    encoder(rows)[:, :2].sum().backward()
    deviations = [deviation for *_, deviation in encoder.numbers]
    assert rows.grad[0].tolist() == pytest.approx([1 / deviations[0], 0, 1 / deviations[1]])


def test_questions_are_asked_in_the_units_of_the_data():
    encoder = fit_encoder(TRAIN, crosses=("a*b",))
    called = names(encoder)
    _, _, mean, deviation = encoder.numbers[0]
    assert condition(encoder, called, 0, (2.5 - mean) / deviation, True) == "a > 2.5"
    assert condition(encoder, called, 2, 0.5, True) == "a is missing"
    assert condition(encoder, called, 2, 0.5, False) == "a is there"
    assert condition(encoder, called, 4, 0.5, False) == "c ≠ x"
    assert condition(encoder, called, 6, 0.5, False) == "c is there"
    assert condition(encoder, called, 7, 0.5, False) == "a × b ≤ 0.5"
