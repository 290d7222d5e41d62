"""A hint that is followed to the letter leads to full points.

`tests/hints_followed/NN_topic.py` holds for each exercise the code that its last hint and its
docstring describe, and no thought of its own: `FOLLOWED = {exercise: code}`.
"""

import importlib
import importlib.util

import pytest

from tests.test_checks import LABS, defined_by, namespace_of, verdicts

FOLDER = "tests.hints_followed"
WRITTEN = [lab for lab in LABS if importlib.util.find_spec(f"{FOLDER}.{lab}")]


def followed(lab):
    return importlib.import_module(f"{FOLDER}.{lab}").FOLLOWED


@pytest.mark.parametrize("lab", WRITTEN)
def test_the_last_hint_of_every_exercise_is_followed(lab):
    assert set(followed(lab)) == set(namespace_of(lab))


@pytest.mark.parametrize("lab, exercise", [(lab, e) for lab in WRITTEN for e in followed(lab)])
def test_the_code_that_the_last_hint_describes_earns_all_points(lab, exercise):
    namespace = defined_by(followed(lab)[exercise], lab, exercise)
    failed = [r for r in verdicts(lab, namespace, exercise, range(3)) if r.status != "passed"]
    assert not failed, failed[:2]
