"""The grader against hostile submissions to labs that ask for more than a function of a number."""

import pytest

from tests.hostile import kinds, shared
from tests.test_grade_corpus import QUICK
from utils.grading import sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal())),
]


@pytest.mark.parametrize("lab", kinds.KINDS)
def test_every_submission_gets_what_its_honest_code_earns(lab):
    everyone = kinds.of_lab(lab)
    records = shared.grade_together(lab, everyone, QUICK, kinds.KINDS[lab])
    wrong = shared.wrong_ones(everyone, records)
    assert not wrong, wrong
    assert len(everyone) >= 12 and len(records) == len(everyone)
