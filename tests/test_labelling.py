"""Human labelling: blinded, durable, resumed; a labeller who stops half-way loses nothing."""

import json
import subprocess
import sys

import pytest

from utils.evaluate.labelling import LabelFileError, Labelling, Pair, agreement, replay
from utils.report.labelling import labelling_widget

PAIRS = [Pair(f"question {k}", f"one {k}", f"other {k}") for k in range(20)]


def left_is_one(session):
    return session.current().left.startswith("one")


def choose_one(session, n):
    """Label n pairs, always for the first system, wherever it stands."""
    for _ in range(n):
        session.label("left" if left_is_one(session) else "right")


def test_order_and_sides_are_random_and_hide_the_systems(tmp_path):
    session = Labelling(PAIRS, tmp_path / "a.jsonl", "ann")
    sides, numbers = [], []
    while (shown := session.current()) is not None:
        sides.append(left_is_one(session))
        numbers.append(shown.number)
        session.label("left")
    assert sorted(numbers) == list(range(20)) != numbers
    assert 4 <= sum(sides) <= 16, "neither system always stands on the left"
    assert [session.labels[n] for n in numbers] == ["one" if s else "other" for s in sides]
    other = Labelling(PAIRS, tmp_path / "b.jsonl", "ben")
    assert other.order != session.order


def test_a_labeller_who_stops_half_way_goes_on_there(tmp_path):
    path = tmp_path / "labels" / "a.jsonl"
    session = Labelling(PAIRS, path, "ann")
    choose_one(session, 7)
    expected = session.current()
    again = Labelling(PAIRS, path, "ann")  # nothing was closed or saved
    assert again.labels == session.labels and again.current() == expected
    choose_one(again, 13)
    assert again.current() is None
    assert set(replay(path).values()) == {"one"} and len(replay(path)) == 20
    with pytest.raises(ValueError, match="all pairs are labelled"):
        again.label("tie")


def test_undo_takes_one_label_back_after_the_other_and_survives_a_resume(tmp_path):
    path = tmp_path / "a.jsonl"
    session = Labelling(PAIRS, path, "ann")
    session.undo()  # nothing to take back
    shown = [session.current()]
    session.label("tie")
    shown.append(session.current())
    session.label("left")
    session.undo()
    assert session.current() == shown[1]
    again = Labelling(PAIRS, path, "ann")
    assert again.current() == shown[1] and list(again.labels.values()) == ["tie"]
    again.undo()
    assert again.current() == shown[0] and not again.labels
    assert len(path.read_text().splitlines()) == 5, "nothing is rewritten"


def test_every_label_is_on_disk_when_the_process_is_killed(tmp_path):
    path = tmp_path / "a.jsonl"
    code = (
        "import os, sys\n"
        "from tests.test_labelling import PAIRS, choose_one\n"
        "from utils.evaluate.labelling import Labelling\n"
        "choose_one(Labelling(PAIRS, sys.argv[1], 'ann'), 5)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode != 0
    assert len(Labelling(PAIRS, path, "ann").labels) == 5


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_costs_that_label_alone(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    choose_one(Labelling(PAIRS, path, "ann"), 4)
    path.write_bytes(path.read_bytes()[:-cut])
    again = Labelling(PAIRS, path, "ann")
    assert len(again.labels) == (4 if cut == 1 else 3)
    choose_one(again, 3)
    assert len(Labelling(PAIRS, path, "ann").labels) == len(again.labels)


def test_files_of_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    choose_one(Labelling(PAIRS, path, "ann"), 2)
    with pytest.raises(LabelFileError, match="labeller 'ann', not 'ben'"):
        Labelling(PAIRS, path, "ben")
    with pytest.raises(LabelFileError, match="written with pairs"):
        Labelling(PAIRS[:5], path, "ann")
    with pytest.raises(LabelFileError, match="written with seed"):
        Labelling(PAIRS, path, "ann", seed=1)
    text = path.read_text()
    for bad, words in (("hello\n", "line 4: no JSON"), ("[1]\n", "no label"), ('{"x": 1}\n', "no")):
        path.write_text(text + bad)
        with pytest.raises(LabelFileError, match=words):
            Labelling(PAIRS, path, "ann")
    path.write_text(json.dumps({"pair": 1}) + "\n")
    with pytest.raises(LabelFileError, match="does not begin"):
        Labelling(PAIRS, path, "ann")
    with pytest.raises(ValueError, match="pairs is empty"):
        Labelling([], tmp_path / "b.jsonl", "ann")
    with pytest.raises(ValueError, match="side must be"):
        Labelling(PAIRS, tmp_path / "b.jsonl", "ann").label("first")


def test_agreement_is_over_the_pairs_that_both_have_labelled(tmp_path):
    ann = Labelling(PAIRS, tmp_path / "a.jsonl", "ann")
    ben = Labelling(PAIRS, tmp_path / "b.jsonl", "ben")
    while (shown := ann.current()) is not None:  # by system: even pairs one, odd pairs other
        ann.label("left" if left_is_one(ann) == (shown.number % 2 == 0) else "right")
    for _ in range(12):
        shown = ben.current()
        wants_one = shown.number % 2 == 0 if shown.number % 4 else True
        ben.label("left" if left_is_one(ben) == wants_one else "right")
    found = agreement(ann.path, ben.path)
    assert found.n_pairs == 12 and found.seen == 1.0 and found.kappa == pytest.approx(1.0)
    ben.undo()
    ben.label("tie")
    found = agreement(ann.path, ben.path)
    assert found.seen == pytest.approx(11 / 12) and found.kappa < 1
    other = Labelling(PAIRS[:3], tmp_path / "c.jsonl", "cyd")
    with pytest.raises(LabelFileError, match="different pairs"):
        agreement(ann.path, other.path)
    with pytest.raises(ValueError, match="no pair was labelled by both"):
        agreement(ann.path, Labelling(PAIRS, tmp_path / "d.jsonl", "dan").path)


def test_the_widget_takes_buttons_and_keys_and_shows_no_markup(tmp_path):
    pairs = [Pair("<i>why</i>", "<b>one</b>", "other"), *PAIRS[:2]]
    session = Labelling(pairs, tmp_path / "a.jsonl", "ann")
    widget = labelling_widget(session)
    state, text, row = widget.children
    *buttons, box = row.children
    assert "0 of 3" in state.value and "<i>why" not in text.value and "<b>one" not in text.value
    buttons[0].click()
    box.value = "2"
    assert len(session.labels) == 2 and box.value == "" and "2 of 3" in state.value
    box.value = "x"  # no key of ours
    assert len(session.labels) == 2
    box.value = "u"
    assert len(session.labels) == 1
    buttons[2].click()
    box.value = "3"
    assert session.current() is None and buttons[0].disabled and "All labelled" in text.value
    box.value = "1"  # nothing left
    assert len(session.labels) == 3
    buttons[3].click()
    assert len(session.labels) == 2 and not buttons[0].disabled
    assert set(replay(tmp_path / "a.jsonl").values()) <= {"one", "other", "tie"}
