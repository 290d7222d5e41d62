"""Ragas beside the three functions of lecture 09: the same judge, and the same scores."""

import ast
import json
import os
import subprocess
from dataclasses import asdict

import pytest

from tests.side import python_with
from utils.settings import project_root
from utils.world.attributes import BY_NAME
from utils.world.claims import find_claims
from utils.world.facts import build_world
from utils.world.phrasings import answer_sentence
from utils.world.questions import questions

RAGAS = python_with("ragas", ["ragas"])
LECTURE = project_root() / "notebooks/source/09_evaluation.py"
SCORES = ("faithfulness", "relevancy", "context_precision")


@pytest.fixture(scope="module")
def lecture():
    """Return the functions of the lecture as it shows them."""
    tree = ast.parse(LECTURE.read_text("utf-8"))
    shown = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in ("claims_in", *SCORES)
    ]
    names = {"world": build_world(), "find_claims": find_claims}
    exec(compile(ast.Module(shown, []), LECTURE.name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def cases():
    """Return question, answer and pages: the lecture's five cases, and three that are mixed."""
    world = build_world()
    name = world.new_drugs[0]
    question = next(
        q
        for q in questions(world, "new_drug", 900, seed=1)
        if (q.entity, q.attribute) == (name, "dose")
    )
    wrong = next(v for v in BY_NAME["dose"].values if v != question.value)
    right = answer_sentence("dose", name, question.value)
    old = answer_sentence("dose", name, wrong)
    other = answer_sentence("route", name, world.facts[name]["route"])
    return [
        (question, answer, pages)
        for answer, pages in (
            (right, [other, right]),
            (old, [other, old]),
            (old, [other, right]),
            (right, [other]),
            (other, [other]),
            (f"{right} {other}", [right]),
            (f"{right} {other}", [old, right, other, right]),
            (f"{old} {other}", [right, other]),
        )
    ]


def ours(lecture, question, answer, pages):
    return [
        lecture["faithfulness"](question, answer, "\n".join(pages)),
        lecture["relevancy"](question, answer),
        lecture["context_precision"](question, pages),
    ]


def test_the_cases_tell_the_scores_apart(lecture, cases):
    """No score is the other, and none is constant: equality below is no accident."""
    columns = list(zip(*(ours(lecture, *case) for case in cases), strict=True))
    assert len(set(columns)) == len(SCORES)
    assert all({0.0, 1.0} < set(column) for column in columns), "some lie in between"


@pytest.mark.skipif(RAGAS is None, reason="not installed: python -m utils.bootstrap ragas")
def test_ragas_gives_the_scores_of_the_lecture(lecture, cases):
    sent = [
        {"question": asdict(question), "answer": answer, "pages": pages}
        for question, answer, pages in cases
    ]
    done = subprocess.run(
        [RAGAS, "-m", "tests.ragas_worker"],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=project_root(),
        env=os.environ | {"RAGAS_DO_NOT_TRACK": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["version"]
    for case, scores in zip(cases, found["scores"], strict=True):
        assert scores == pytest.approx(ours(lecture, *case), abs=1e-6), case
