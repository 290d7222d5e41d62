"""The grader against hostile submissions to labs that ask for more than a function of a number."""

import pytest

from tests.hostile import kinds
from tests.test_grade_corpus import QUICK
from utils.grading import classroom, grade, sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal())),
]


@pytest.mark.parametrize("lab", kinds.KINDS)
def test_every_submission_gets_what_its_honest_code_earns(lab, tmp_path):
    everyone = kinds.of_lab(lab)
    folder = tmp_path / "in"
    folder.mkdir()
    for one in everyone:
        (folder / f"{one.family} - {one.name}.ipynb").write_bytes(one.content)
    records = classroom.grade_class(
        lab, [folder], tmp_path / "out", limits=QUICK, n_jobs=3, only=kinds.KINDS[lab]
    )
    by_name = {record["learner"]: record for record in records}
    wrong = []
    for one in everyone:
        record = by_name[f"{one.family} - {one.name}"]
        earned = sum(check["earned"] for check in record["checks"])
        fits = earned <= one.points if one.may_lose else earned == one.points
        if not fits or record["status"] != grade.GRADED:
            hints = [(check["title"], check["hint"]) for check in record["checks"]]
            wrong.append((one.name, earned, one.points, record["status"], record["note"], hints))
    assert not wrong, wrong
    assert len(everyone) >= 12 and len(by_name) == len(everyone)
