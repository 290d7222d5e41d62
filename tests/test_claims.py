"""Claims over several seeds: their records are current, the bars hold, one seed comes out again.

`make claims` measures them all; see `tests/claims/registry.py`.
"""

import pytest

from tests.claims.registry import all_claims, read, stamp_of
from tests.claims.unit04 import wilson
from utils.build.stamp import stale_parts

CLAIMS = all_claims()
MOST_SECONDS = 15  # of CPU for one seed


def is_dear(name: str) -> bool:
    """Return whether a claim's seed takes so long that the weekly run alone measures it again."""
    found = CLAIMS[name]
    return not found.probe and read(found)["cpu_seconds"] > MOST_SECONDS * len(found.seeds)


@pytest.mark.parametrize("name", CLAIMS)
def test_the_record_was_measured_by_the_code_as_it_is(name):
    found, record = CLAIMS[name], read(CLAIMS[name])
    was, now = (
        {"code": s.get("measurement"), "modules": s} for s in (record["stamp"], stamp_of(found))
    )
    assert not stale_parts(was, now), f"python -m tests.claims {name}"
    assert record["says"] == found.says


@pytest.mark.parametrize("name", CLAIMS)
def test_the_bar_holds_at_every_recorded_seed(name):
    found, record = CLAIMS[name], read(CLAIMS[name])
    assert [int(seed) for seed in record["runs"]] == list(found.seeds)
    assert len(found.seeds) >= 3
    found.holds(list(record["runs"].values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.weekly] * is_dear(n)) for n in CLAIMS]
)
def test_one_seed_comes_out_as_recorded(name):
    found, record = CLAIMS[name], read(CLAIMS[name])
    seed = found.seeds[0]
    recorded = record["probes" if found.probe else "runs"][str(seed)]
    again = (found.probe or found.measure)(seed)
    if not found.probe:
        found.holds([again])
    assert again == pytest.approx(recorded, rel=found.rtol, abs=found.atol)


def test_every_record_belongs_to_a_claim():
    folder = next(iter(CLAIMS.values())).path.parent
    assert {path.stem for path in folder.glob("*.json")} == set(CLAIMS)


def test_wilson_at_known_places():
    assert wilson(0, 72, +1) == pytest.approx(1.645**2 / (72 + 1.645**2))
    assert wilson(12, 24, -1) == pytest.approx(1 - wilson(12, 24, +1))
