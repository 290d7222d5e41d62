import csv
from html.parser import HTMLParser

import pytest

from utils.grading import gradebook

NASTY = "<script>alert(1)</script>"


def record(learner, earned=1, text="because", **more):
    check = {"exercise": "f", "title": "it works", "points": 2, "earned": earned}
    check |= {"status": "failed", "hint": f"got {NASTY}"}
    answers = [{"points": 3, "text": text}]
    return {"learner": learner, "status": "graded", "note": "", "written": answers,
            "problems": [NASTY], "checks": [check], **more}  # fmt: skip


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_gradebook_is_whole(tmp_path):
    made = gradebook.write_gradebook("01_tokens", [record("ada"), record("bob", 2)], tmp_path)
    table = rows(made["grades"])
    assert [(r["learner"], r["points"], r["of"]) for r in table] == [
        ("ada", "1", "2"),
        ("bob", "2", "2"),
    ]
    assert table[0]["written points"] == "to be marked"
    assert made["summary"].read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in made["feedback"].iterdir()) == ["ada.html", "bob.html"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "＝"])
def test_no_cell_begins_like_a_formula(start, tmp_path):
    nasty = start + 'cmd|"/c calc"!A1'
    made = gradebook.write_gradebook("01_tokens", [record(nasty, text=nasty)], tmp_path)
    for name in ("grades", "written"):
        for row in rows(made[name]):
            for cell in row.values():
                assert not cell.lstrip(" ").startswith(gradebook.FORMULA_STARTS), cell


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def test_feedback_shows_a_learners_text_as_text():
    nasty = record(NASTY, text=f"{NASTY}<img src=x onerror=y>", note=NASTY)
    page = gradebook.feedback_page("01_tokens", nasty, {(NASTY, 1): (2.0, NASTY)})
    tags = Tags()
    tags.feed(page)
    assert not tags.seen & {"script", "img"} and page.count("&lt;script&gt;") >= 6
    assert "Written answer 1: 2 of 3 points" in page


def test_points_by_hand_are_kept_and_counted(tmp_path):
    learners = [record("ada"), record("=eve")]
    sheet = gradebook.write_gradebook("01_tokens", learners, tmp_path)["written"]
    sheet.write_text(sheet.read_text("utf-8").replace(",1,3,,,", ",1,3,2.5,well put,"), "utf-8")
    for _ in range(2):
        made = gradebook.write_gradebook("01_tokens", learners, tmp_path)
        assert [r["written points"] for r in rows(made["grades"])] == ["2.5", "2.5"]
        assert [r["comment"] for r in rows(sheet)] == ["well put"] * 2
        assert "well put" in (made["feedback"] / "ada.html").read_text("utf-8")
    made = gradebook.write_gradebook("01_tokens", learners[:1], tmp_path)
    assert [r["learner"] for r in rows(sheet)] == ["ada", "'=eve"], "a mark may not get lost"


@pytest.mark.parametrize("points", ["three", "4", "-1", "nan"])
def test_a_slip_in_the_sheet_is_named_and_nothing_is_written(points, tmp_path):
    sheet = gradebook.write_gradebook("01_tokens", [record("ada")], tmp_path)["written"]
    changed = sheet.read_text("utf-8").replace(",1,3,,,", f",1,3,{points},,")
    sheet.write_text(changed, "utf-8")
    with pytest.raises(ValueError, match="line 2"):
        gradebook.write_gradebook("01_tokens", [record("ada")], tmp_path)
    assert sheet.read_text("utf-8") == changed
