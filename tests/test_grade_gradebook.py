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


def test_the_reason_stands_first_and_once():
    parts = [
        {
            "exercise": name,
            "title": title,
            "points": 1,
            "earned": 0,
            "status": "error",
            "hint": hint,
        }
        for name, title, hint in (
            ("f", "a", "your code took too long"),
            ("f", "b", "NameError: x"),
            ("g", "c", "NameError: x"),
            ("g", "d", ""),
        )
    ]
    parts[-1] |= {"status": "passed", "points": 0, "note": "counts in the notebook"}
    told = record("ada", note="your code took too long", problems=["cell 3 was left out"],
                  checks=parts, skipped="cell 9, line 1")  # fmt: skip
    page = gradebook.feedback_page("01_tokens", told, {})
    table = page.index("<table>")
    for reason in ("your code took too long", "cell 3 was left out"):
        assert page.count(reason) == 1 and page.index(reason) < table
    assert page.count("NameError: x") == 1 and page.count("as above") == 2
    assert "passed (counts in the notebook)" in page and page.index("cell 9, line 1") > table


def test_words_are_broken_in_the_last_column_alone():
    page = gradebook.feedback_page("01_tokens", record("ada"), {})
    style = page[page.index("<style>") : page.index("</style>")]
    for rule in style.split("}"):
        if "anywhere" in rule or "break-all" in rule:
            assert "td:last-child" in rule or rule.strip().startswith("pre, li, p")
    assert "td:nth-child(3), th { white-space: nowrap; }" in style


def test_parts_without_weight_are_no_loss_in_the_summary(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.barh", lambda self, places, lost, **k: drawn.append(lost)
    )
    monkeypatch.setattr("matplotlib.axes.Axes.bar_label", lambda *a, **k: None)
    told = record("ada")
    told["checks"] = [{**told["checks"][0], "status": "passed", "points": 0, "earned": 0}]
    gradebook.draw_summary("01_tokens", [told], tmp_path / "x.png")
    assert drawn == [[0.0]]
