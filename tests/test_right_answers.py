"""Right answers of another shape than the course's own earn all points.

`tests/right_answers/NN_topic.py` holds them: `RIGHT = {exercise: [code, ...]}`, two at least.
"""

import importlib
import importlib.util

import pytest

from tests.test_checks import LABS, defined_by, namespace_of, verdicts

FOLDER = "tests.right_answers"
WRITTEN = [lab for lab in LABS if importlib.util.find_spec(f"{FOLDER}.{lab}")]
ANSWERS = [
    (lab, exercise, number)
    for lab in WRITTEN
    for exercise, codes in importlib.import_module(f"{FOLDER}.{lab}").RIGHT.items()
    for number in range(len(codes))
]


def right(lab):
    return importlib.import_module(f"{FOLDER}.{lab}").RIGHT


@pytest.mark.parametrize("lab", WRITTEN)
def test_every_exercise_has_two_right_answers_of_another_shape(lab):
    assert set(right(lab)) == set(namespace_of(lab))
    assert all(len(set(codes)) == len(codes) >= 2 for codes in right(lab).values())


@pytest.mark.parametrize("lab, exercise, number", ANSWERS)
def test_a_right_answer_of_another_shape_earns_all_points(lab, exercise, number):
    namespace = defined_by(right(lab)[exercise][number], lab, exercise)
    failed = [r for r in verdicts(lab, namespace, exercise, range(5)) if r.status != "passed"]
    assert not failed, failed[:2]
