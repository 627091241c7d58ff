"""The fast BLAS is in the process before a test imports MLX; how many examples Hypothesis tries.

make test                                            50 examples a law
HYPOTHESIS_PROFILE=nightly make test                 1,000 (or ARGS=--hypothesis-profile=nightly)
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

import agents.lm  # noqa: F401

USUAL = 50

# A gate has to say the same of the same commit twice: in CI the examples follow from the test alone, so a red run is the
# change's doing and not the day's luck. New examples are looked for at a desk and at night, where a failure is kept and
# tried first from then on. No deadline: the first example of a test may wait for numba.
_AT_A_DESK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", _AT_A_DESK, max_examples=USUAL, derandomize="CI" in os.environ)
settings.register_profile(
    "mutants", _AT_A_DESK, max_examples=5, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)  # benchmarks/mutants.py: a mutant is killed by the first examples or hardly at all, and nothing has to be shrunk
settings.register_profile("nightly", _AT_A_DESK, max_examples=1_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for few examples (@settings(max_examples=...)) asks for its share of USUAL: nightly has 20 times as many."""
    grown = settings().max_examples / USUAL
    for item in items:
        test = getattr(item, "function", None)
        own = getattr(test, "_hypothesis_internal_use_settings", None)  # where @settings keeps them; no public name
        if own is not None and own.max_examples != settings().max_examples and not hasattr(test, "_grown"):
            test._hypothesis_internal_use_settings = settings(own, max_examples=max(1, round(own.max_examples * grown)))
            test._grown = True  # a parametrized test comes once for each of its cases
