import ast
import json
import time

import pytest

from tests.hostile import corpus, kinds
from utils.grading import kit, reaches, submission, worker
from utils.runtime import project_root


@pytest.mark.parametrize("one", corpus.malformed(), ids=lambda one: one.name)
def test_malformed_files_are_read_or_refused_with_a_reason(one, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_bytes(one.content)
    try:
        found = submission.read_submission(path)
    except submission.Unreadable as error:
        assert one.points == 0 and str(error)
    else:
        assert isinstance(found.code, tuple)
        if one.points:
            assert any("causal_mask" in source for source in found.code)


def test_links_folders_and_large_files_are_refused(tmp_path):
    real = tmp_path / "real.ipynb"
    real.write_bytes(corpus.notebook("x = 1"))
    link = tmp_path / "link.ipynb"
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("this user may not make symbolic links")
    for path, why in (
        (link, "symbolic link"),
        (tmp_path, "opened|regular"),
        (tmp_path / "no", "opened"),
    ):
        with pytest.raises(submission.Unreadable, match=why):
            submission.read_submission(path)
    large = tmp_path / "large.ipynb"
    with large.open("wb") as file:
        file.truncate(submission.MAX_FILE + 1)
    with pytest.raises(submission.Unreadable, match="larger"):
        submission.read_submission(large)


def kept(source):
    return [ast.unparse(statement).split("\n")[0] for statement in submission.definitions(source)]


def test_only_imports_definitions_and_assignments_are_kept():
    source = "import a\nprint(1)\nif x:\n    def g(): ...\nclass C: ...\nx = 1\nx += 1\nassert 0"
    assert kept(source) == ["import a", "class C:", "x = 1", "x += 1"]


def test_magics_go_and_texts_that_look_like_magics_stay():
    assert kept("%time\nx = !ls\n?x\nprint?\ny = 1") == ["y = 1"]
    assert kept("%%bash\nx = 1") == []
    assert kept("%%time\nx = 1") == ["x = 1"]
    (text,) = submission.definitions('x = """\n%time\n"""')
    assert text.value.value == "\n%time\n"
    assert kept("x = (7\n%3)") == ["x = 7 % 3"]


def test_written_answers_are_what_the_learner_added():
    asked = ("## 1. Code\n\ntext", "## 6. Written answer (3 points)\n\nWhy?\n\n*Your answer here.*")
    edited = (asked[0], asked[1].replace("*Your answer here.*", "Because.\n\nReally."))
    added = (*asked, "In a cell of my own.")
    assert submission.written_answers(edited, asked) == [(3, "Because.\n\nReally.")]
    assert submission.written_answers(added, asked) == [(3, "In a cell of my own.")]
    assert submission.written_answers(asked, asked) == [(3, "")]
    assert submission.written_answers((), asked) == [(3, "")]


@pytest.mark.parametrize("lab", ["01_tokens", "02_attention"])
def test_the_kit_of_a_lab_holds_no_answer_to_it(lab, tmp_path):
    exercises = kit.exercises_in_source(lab)
    kit.make_kit(lab, tmp_path)
    for module, _, function in (dotted.rpartition(".") for dotted in exercises):
        path = tmp_path / kit.module_file(module).relative_to(project_root())
        for node in ast.parse(path.read_text("utf-8")).body if path.is_file() else []:
            if getattr(node, "name", None) == function:
                assert "not there when graded" in ast.unparse(node)
    assert not list(tmp_path.rglob("checks*")) and not list(tmp_path.rglob("*attention*"))
    for needed in kit.needed_modules(lab, exercises):
        assert (tmp_path / kit.module_file(needed).relative_to(project_root())).is_file()


def test_a_module_that_is_needed_loses_the_answers(tmp_path):
    cut = kit.without_answers(
        "import a\ndef f(x):\n    return x\nclass G:\n    y = 1\nh = 2", {"f", "G"}
    )
    scope = {"__name__": "x"}
    exec(cut.replace("import a", ""), scope)
    for name in "fG":
        with pytest.raises(RuntimeError, match="write yours"):
            scope[name](1)
    assert scope["h"] == 2


def test_a_lab_that_is_not_there():
    with pytest.raises(ValueError, match="no lab called"):
        kit.exercises_in_source("99_nothing")


def test_notebooks_of_the_course_are_read():
    for folder in ("labs", "solutions"):
        for path in (project_root() / folder).glob("*.ipynb"):
            found = submission.read_submission(path)
            cells = json.loads(path.read_text("utf-8"))["cells"]
            assert len(found.code) + len(found.text) == len(cells)


def test_headings_of_the_learners_own_do_not_cut_a_written_answer():
    lab = ("## 7. Written answer (3 points)\n\nWhy?\n\n*Your answer here.*", "## 8. The end")
    mine = ("## 7. Written answer (3 points)\n\nWhy?\n\n# First\n\nBecause.\n\n## Second\n\nSo.",)
    ((points, text),) = submission.written_answers((*mine, "## 8. The end\n\nmore"), lab)
    assert points == 3 and text == "# First\n\nBecause.\n\n## Second\n\nSo."


def test_a_cell_has_a_time_of_its_own_and_what_it_defines_counts_all_the_same():
    slow = "import time\n" + "\n".join(f"x{k} = time.sleep(0.3)" for k in range(9))
    begin = time.monotonic()
    names, problems = worker.load_cells([slow + "\ndef f(): return 7", "y = 3"], False, 0.7)
    assert time.monotonic() - begin < 2.5
    assert names["f"]() == 7 and names["y"] == 3
    assert "x0" in names and "x8" not in names
    assert problems[-1] == "cell 1 took more than 1 s: its further assignments left out"


def test_every_attack_is_python_and_most_are_listed_for_a_person_to_look_at():
    listed = {}
    everyone = [*corpus.inflation(), *corpus.honest()]
    everyone += [one for lab in kinds.KINDS for one in kinds.of_lab(lab)]
    for one in everyone + corpus.escape("/x", 1):
        cells = [cell["source"] for cell in json.loads(one.content)["cells"]]
        for cell in cells:
            submission.definitions(cell)
        listed.setdefault(one.family, []).append(bool(reaches.reaches(cells)))
    assert sum(listed["inflation"]) > len(listed["inflation"]) / 2
    assert sum(listed["escape"]) > 0.9 * len(listed["escape"])
    assert sum(listed["honest"]) <= 5  # sys, os: a person sees at a glance that they are harmless
    assert reaches.reaches(["x = (", "import gc"]) == ["cell 2, line 1: imports gc"]
    assert reaches.reaches([f"eval('{k}')\nx = eval('1')" for k in range(99)])[19:] == [
        "cell 20, line 2: uses eval"
    ]
