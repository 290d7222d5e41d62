"""Every learner is one row, whatever the name, and every file is listed or graded."""

import csv
import itertools
import os
import re
import unicodedata

import pytest

from utils.grading import classroom, collect, gradebook, records
from utils.grading.collect import find_submissions, visible

LAB = "02_attention"
HOSTILE_NAMES = [
    "zed", "zed (2)", "zed (3)", "Zed", "ZED", "zed ", " zed", "z ed", "z  ed", "ze\u200bd",
    "ze\u200cd", "ze\u00add", "zed\u202e", "zed\ufeff", "ze\u2060d", "zed\u3164", "zed\u00a0",
    "zed\x01", "zed\n", "zed\r", "zed\t", "zoë", "zoe\u0308", "Å", "A\u030a", "\u212b", "ﬁn", "fin",
    "../zed", "..", ".zed", "a/b", "a\\b", "a:b", "a_b", "a b", "con", "CON", "nul.txt", "aux.",
    "lpt1", "zed.", "zed..", "=1+1", "'=1+1", "''=1+1", "=1+1 ", "+x", "-x", "@x", "＝x", "\\u200b",
    "x" * 300, "x" * 299 + "y", "X" * 300,
    "\ud800", "\ud801", "\udcff", "👩‍🔬", "👩🔬", "1e5", "0012", "12",
    "a-" + "0" * 32, "zed-60088279524e0fd6cf5994c645ddd1f0",
]  # fmt: skip


def record(learner, points=1, identity=None):
    check = {"exercise": "f", "title": "t", "points": 3, "earned": points}
    check |= {"status": "failed", "hint": ""}
    answers = [{"points": 3, "text": "because"}]
    return {
        "lab": "01_tokens",
        "learner": learner,
        "identity": identity or learner,
        "status": "graded",
        "note": "",
        "written": answers,
        "problems": [],
        "checks": [check],
    }


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digests(names):
    """Return names, and those that other names' files have."""
    return [*names, *map(records.record_name, names)]


def test_files_of_learners_never_meet_on_any_system():
    names = list(dict.fromkeys(digests(HOSTILE_NAMES)))
    files = [records.record_name(name) for name in names]
    assert len({file.casefold() for file in files}) == len(names)
    for file in files:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,99}", file)
        assert file[0] not in ".-" and not re.match(
            r"(?i)(con|aux|nul|prn|lpt\d|com\d)(\.|$)", file
        )
        assert not file.endswith(".") and file not in (".", "..")


def test_names_are_shown_so_that_no_two_look_alike():
    shown = [str(gradebook.defused(visible(name))) for name in HOSTILE_NAMES]
    assert len(set(shown)) == len(shown)
    assert len({unicodedata.normalize("NFKC", text).strip() for text in shown}) == len(shown)
    for text in shown:
        text.encode("utf-8")
        assert text.isprintable() and "  " not in text
    assert visible("Zoë van den Berg (2)") == "Zoë van den Berg (2)"


def test_tables_pages_and_marks_hold_each_learner_once(tmp_path):
    everyone = [record(name, points=k % 4) for k, name in enumerate(HOSTILE_NAMES)]
    made = gradebook.write_gradebook("01_tokens", everyone, tmp_path)
    table = rows(made["grades"])
    assert [int(row["points"]) for row in table] == [k % 4 for k in range(len(everyone))]
    assert len({row["learner"] for row in table}) == len(everyone)
    pages = [row["page"] for row in table]
    assert sorted(pages) == sorted(p.name for p in made["feedback"].iterdir())
    sheet = rows(made["written"])
    for k, row in enumerate(sheet):
        row["points"], row["comment"] = str(k % 7 / 2), f"-{k}"
        row["learner"] = "a spreadsheet's"  # 0012 becomes 12, an invisible sign is gone
    with made["written"].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, gradebook.SHEET)
        writer.writeheader()
        writer.writerows(reversed(sheet))
    for _ in range(2):
        made = gradebook.write_gradebook("01_tokens", everyone, tmp_path)
        got = [float(row["written points"]) for row in rows(made["grades"])]
        assert got == [k % 7 / 2 for k in range(len(everyone))]
        assert [row["comment"] for row in rows(made["written"])] == [
            f"'-{k}" for k in range(len(everyone))
        ]


def test_two_rows_for_one_answer_are_named(tmp_path):
    sheet = gradebook.write_gradebook("01_tokens", [record("ada")], tmp_path)["written"]
    sheet.write_text(sheet.read_text("utf-8") + sheet.read_text("utf-8").splitlines()[1], "utf-8")
    with pytest.raises(ValueError, match="line 3: a second row"):
        gradebook.write_gradebook("01_tokens", [record("ada")], tmp_path)


def test_a_sheet_of_before_there_were_keys_is_read(tmp_path):
    sheet = tmp_path / "written.csv"
    sheet.write_text("learner,question,of,points,comment,answer\nada,1,3,2.5,well,because\n")
    made = gradebook.write_gradebook("01_tokens", [record("ada")], tmp_path)
    assert rows(made["grades"])[0]["written points"] == "2.5"
    assert len(rows(sheet)) == 1 and rows(sheet)[0]["key"].startswith("k")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found_in(folder):
    return {f.learner: (f.path and f.path.name, f.note) for f in find_submissions(LAB, [folder])}


def test_submissions_are_found_in_files_folders_and_folders_of_learners(tmp_path):
    touch(tmp_path, "ada/02_attention.ipynb", "ada/other.ipynb", "bob/x/mine.ipynb", "eve.ipynb",
          "two/a.ipynb", "two/b.ipynb", "none/read.me", ".hidden.ipynb", "upper/02_ATTENTION.IPYNB",
          "zip/02_attention.ipynb.zip", "other/03_decoder.ipynb", "loud.IPYNB", "json.ipynb.json",
          "packed.zip", "paper.pdf", "03_Decoder.ipynb", "__MACOSX/ada/._02_attention.ipynb",
          "mac/__MACOSX/._x.ipynb", "mac/._02_attention.ipynb", "mac/02_attention.ipynb",
          "check/.ipynb_checkpoints/x.ipynb", "check/x.ipynb")  # fmt: skip
    found = found_in(tmp_path)
    assert found["ada"] == (
        "02_attention.ipynb",
        "not graded, since 02_attention.ipynb is: other.ipynb",
    )
    assert found["bob"] == ("mine.ipynb", "") and found["eve"] == ("eve.ipynb", "")
    assert found["upper"] == ("02_ATTENTION.IPYNB", "") and found["loud"][0] == "loud.IPYNB"
    assert found["mac"] == ("02_attention.ipynb", "") and found["check"] == ("x.ipynb", "")
    for learner, why in (
        ("two", "2 notebooks: which one is 02_attention.ipynb? (a.ipynb, b.ipynb)"),
        ("none", "read.me is not a notebook"),
        ("zip", "02_attention.ipynb.zip is an archive: unpack it"),
        ("other", "another lab's: 03_decoder.ipynb"),
        ("json", "json.ipynb.json is not called a notebook: rename it"),
        ("packed", "packed.zip is an archive"),
        ("paper", "paper.pdf is not a notebook"),
        ("03_Decoder", "the name of another lab, 03_decoder"),
    ):
        assert found[learner][0] is None and why in found[learner][1], found[learner]
    assert len(found) == 15
    with pytest.raises(FileNotFoundError, match="no submission"):
        find_submissions(LAB, [tmp_path / "nothing"])


def test_a_made_up_name_takes_no_number_and_no_marks(tmp_path):
    touch(tmp_path, "zed/x.ipynb", "zed.ipynb", "zed (2).ipynb", "ada.ipynb")
    first = {f.identity: f for f in find_submissions(LAB, [tmp_path, tmp_path / "ada.ipynb"])}
    assert [f.learner for f in first.values()] == [
        "ada", "zed", "zed (2)", "zed (3)", "ada (2)"
    ]  # fmt: skip
    assert first["zed (2)"].path.name == "zed (2).ipynb" and len(first) == 5
    (tmp_path / "zed (2).ipynb").unlink()
    again = {f.identity: f for f in find_submissions(LAB, [tmp_path, tmp_path / "ada.ipynb"])}
    assert set(first) - set(again) == {"zed (2)"}
    keys = {gradebook.mark_key(record(f.learner, identity=f.identity)) for f in again.values()}
    assert gradebook.mark_key(record("zed (2)")) not in keys


@pytest.mark.parametrize("depth", [1500])
def test_deep_wide_and_locked_folders_cost_their_learner_alone(depth, tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "MAX_ENTRIES", 200)
    touch(tmp_path, "ada/02_attention.ipynb")
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        os.mkdir("deep", dir_fd=here)
        inner = os.open("deep", os.O_RDONLY, dir_fd=here)
        for _ in range(depth):
            os.mkdir("d", dir_fd=inner)
            inner, outer = os.open("d", os.O_RDONLY, dir_fd=inner), inner
            os.close(outer)
        os.close(inner)
    finally:
        os.close(here)
    for k in range(300):
        touch(tmp_path, f"wide/{k}/x.txt")
    touch(tmp_path, "loop/a/b.txt")
    (tmp_path / "loop/a/up").symlink_to(tmp_path, target_is_directory=True)
    found = found_in(tmp_path)
    assert found["ada"] == ("02_attention.ipynb", "")
    assert found["deep"][0] is None and "levels deep were not looked at" in found["deep"][1]
    assert found["wide"][0] is None and "not all looked at" in found["wide"][1]
    assert found["loop"][0] is None and len(found) == 4
    remove_deep(tmp_path / "deep", depth)


def remove_deep(folder, depth):
    """Remove folders within each other from the top: what removes trees recurses."""
    for _ in range(depth + 1):
        if (folder / "d").is_dir():
            os.rename(folder / "d", folder.with_name("next"))
            os.rmdir(folder)
            os.rename(folder.with_name("next"), folder)
    os.rmdir(folder)


def test_hostile_names_are_graded_to_the_end(tmp_path):
    folder, n = tmp_path / "in", 0
    folder.mkdir()
    for name in HOSTILE_NAMES:
        try:
            (folder / f"{name}.ipynb").write_bytes(b"{}")
            n += 1
        except (OSError, ValueError, UnicodeEncodeError):
            continue  # no file may be called so here
    (folder / os.fsdecode(b"\xff\xfe.ipynb")).write_bytes(b"{}")
    options = {"trusted": True, "n_jobs": 1, "only": ["causal_mask"]}
    graded = classroom.grade_class(LAB, [folder], tmp_path / "out", **options)
    listed = [f for f in find_submissions(LAB, [folder])]
    assert len(graded) == len(listed) and len({r["learner"] for r in graded}) == len(graded) > 30
    assert {r["status"] for r in graded} == {"unreadable"}
    made = gradebook.write_gradebook(LAB, graded, tmp_path / "out")
    assert len(list((tmp_path / "out/records").iterdir())) == len(graded)
    assert len(list(made["feedback"].iterdir())) == len(graded)


def test_no_pair_of_short_names_shares_a_key():
    signs = ["a", "A", " ", ".", "-", "\u200b", "é", "e\u0301", "(", "=", "'", "\\", "\ud800"]
    names = ["".join(p) for n in (1, 2, 3) for p in itertools.product(signs, repeat=n)]
    names = list(dict.fromkeys(names))
    for key in (records.record_name, lambda n: str(gradebook.defused(visible(n))),
                lambda n: gradebook.mark_key({"learner": n})):  # fmt: skip
        assert len({key(name) for name in names}) == len(names)
    assert len({records.record_name(name).casefold() for name in names}) == len(names)
