"""The run-time type checker of the tests: beartype that takes an int where a float is asked for.

beartype looks at a random item of every list it checks. It gets dice of its own, because those of the `random` module
are part of a run's state, and a checked run would differ from an unchecked one.
"""

import random

from beartype import BeartypeConf, beartype
from beartype._check.code import codemain

codemain.getrandbits = random.Random(0).getrandbits
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
