"""Every claim of the evidence has a command that works: its short form runs here, and gives what a bar asks about."""

import math

import pytest

from gradus.app.proving import measured, proofs

# The kills and the start-up have tests of their own, with as many processes as CI can bear.
HERE = sorted(id for id in proofs() if not id.startswith("engine/") and id != "bench/startup")
EXTRA = {"bench/lightning": "lightning", "bench/keras": "keras"}


@pytest.mark.parametrize("id", HERE)
def test_the_short_form_measures_what_is_claimed(id):
    if id in EXTRA:
        pytest.importorskip(EXTRA[id])
    proof = proofs()[id]
    values = measured(proof, True, None)["values"]
    asked = [name for name in proof.bars if name in values]
    assert asked, f"{id} gives {', '.join(values)}, and nothing that its bars ask about"
    for name in asked:
        assert math.isfinite(values[name]), f"{id}: {name} is {values[name]}"
