import ast
import json
import subprocess
import sys

import pytest

from tests.hostile import corpus, kinds
from utils.grading import kit, needed, reaches, submission, worker
from utils.settings import project_root


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
    """Return the first lines of what is run of a cell when `f` is asked for."""
    steps = [needed.step_of(k, s) for k, s in needed.parsed([source])[0]]
    return [ast.unparse(step.node).split("\n")[0] for step in needed.split(steps, ["f"])[0]]


FILLS = """
    TABLE, OTHER = {}, {}
    def fill(k): TABLE[k] = k
    def fill_by(k): return fill(k)
    def unrelated(k): OTHER[k] = k
"""
NEEDED = {  # a statement at the top of a cell -> whether `f`, which reads TABLE and SIZE, needs it
    "SIZE = len('abc')": True,
    "SIZE: int = len('abc')": True,
    "SIZE += len('abc')": True,
    "(SIZE := len('abc'))": True,
    "print(SIZE := 3)": True,
    "match len('ab'):\n    case SIZE: pass": True,
    "for SIZE in range(3): pass": True,
    "with open('/dev/null') as SIZE: pass": True,
    "if len('ab') > 1:\n    SIZE = 3\nelse:\n    SIZE = 4": True,
    "try:\n    SIZE = int('x')\nexcept ValueError:\n    SIZE = 3": True,
    "while not TABLE: TABLE[1] = 1": True,
    "[TABLE.setdefault(k, k) for k in range(3)]": True,
    "TABLE[1] = len('x')": True,
    "TABLE.update(a=1)": True,
    "del TABLE['a']": True,
    "fill(3)": True,
    "fill_by(3)": True,
    "for k in range(3): fill_by(k)": True,
    "other = fill_by(3)": True,
    "dict.update(TABLE, b=2)": True,
    "helped = len('x')": True,
    "f.limit = len('x')": True,
    "Kept.rows = len('x')": True,
    "Kept.fill()": True,
    "math.nan": False,
    "torch.manual_seed(0)": True,
    "sys.setrecursionlimit(10 ** 4)": False,
    "sys.setrecursionlimit(9999)": True,
    "print(TABLE)": False,
    "f(3)": False,
    "check('f')": False,
    "assert f(1) == 1": False,
    "plt.plot(OTHER)": False,
    "unrelated(3)": False,
    "losses = [f(k) for k in range(9)]": False,
    "sizes = dict.fromkeys(map(len, 'ab'))": False,
    "for step in range(10): loss = f(step)": False,
    "if __name__ == '__main__': print(f(1))": False,
}


@pytest.mark.parametrize("statement", NEEDED)
def test_a_statement_is_run_when_an_answer_needs_it(statement):
    source = (
        corpus.code(FILLS)
        + """
import math, sys, torch
import matplotlib.pyplot as plt
def helper(x): return x + helped + Kept.rows
class Kept:
    rows = 0
    @classmethod
    def fill(cls): cls.rows = 3
def f(x): return TABLE.get(x, SIZE) + len(dict()) + helper(torch.tensor(x))
"""
    )
    steps = [needed.step_of(1, s) for s in ast.parse(source + statement).body]
    run, skipped = needed.split(steps, ["f"])
    assert (steps[-1] in run) == NEEDED[statement]
    assert [step.node.lineno for step in skipped] == (
        [] if NEEDED[statement] else [source.count("\n") + 1]
    )


def test_a_function_that_looks_names_up_by_itself_has_all_of_them():
    source = "y = int('3')\ndef g(): return eval('y')\ndef f(): return g()\nz = int('4')"
    assert len(kept(source)) == 4 and len(kept(source.replace("eval", "abs"))) == 2


def test_commands_of_a_notebook_are_translated_as_a_notebook_does():
    assert kept("%matplotlib inline\nf = int('1')\n?x\nprint?\ny = !ls") == ["f = int('1')"]
    assert kept("%%bash\nf = 1") == []
    assert kept("%%time\nf = int('1')") == kept("%time f = int('1')") == ["f = int('1')"]
    assert kept("%%capture out\n%time f = int('1')") == ["f = int('1')"]
    assert kept('f = """\n%time\n"""') == ["f = '\\n%time\\n'"]
    assert kept("f = (7\n%3)\n!ls") == kept("f = (7\n  %3)\n!ls") == ["f = 7 % 3"]
    text = "def f(x):\n    return (x\n%3)\n%timeit f(1)"
    steps = [needed.step_of(k, s) for k, s in needed.parsed([text])[0]]
    assert ast.unparse(steps[0].node) == "def f(x):\n    return x % 3"
    assert needed.parsed(["x = (", "%time x = ("])[1][1].startswith("cell 2 is no Python")
    ((_, late),) = needed.parsed(["\n\n%time x = 1"])[0]
    assert late.lineno == 3


def test_the_translator_is_read_without_the_rest_of_ipython():
    code = (
        "import sys\nfrom utils.grading import needed\n"
        "assert needed.parsed(['%time x = 1'])[0] and 'traitlets' not in sys.modules\n"
        "import IPython\nassert IPython.get_ipython() is None and IPython.__file__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project_root())


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
    for module in kit.needed_modules(lab, exercises):
        assert (tmp_path / kit.module_file(module).relative_to(project_root())).is_file()


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
    names, problems, skipped = worker.load_cells(
        [slow + "\ndef f(): return 7", "y = 3"], False, 0.7
    )
    assert names["f"]() == 7 and names["y"] == 3 and skipped == ""
    assert problems[-1] == "cell 1 took more than 1 s"


def test_slow_cells_starve_no_constant():
    slow = ["import time", *[f"x{k} = time.sleep(30)" for k in range(9)]]
    cells = [*slow, "def f(): return SIZE, [x0, x8]", "(SIZE := int('3'))", "late = 2"]
    names, problems, skipped = worker.load_cells(cells, False, 0.01, ["f"], 0.02)
    assert names["SIZE"] == 3 and names["late"] == 2 and skipped == places(range(3, 10))
    assert len([p for p in problems if "too long" in p]) == 2
    names, problems, skipped = worker.load_cells(cells, True, 0.01, ["f"], 0.02)
    assert "f" in names and names["late"] == 2 and "SIZE" not in names


def places(cells):
    return "; ".join(f"cell {k}, line 1" for k in cells)


def test_every_attack_is_python_and_most_are_listed_for_a_person_to_look_at():
    listed = {}
    everyone = [*corpus.inflation(), *corpus.honest()]
    everyone += [one for lab in kinds.KINDS for one in kinds.of_lab(lab)]
    for one in everyone + corpus.escape("/x", 1):
        cells = [cell["source"] for cell in json.loads(one.content)["cells"]]
        assert one.family != "inflation" or not needed.parsed(cells)[1], one.name
        listed.setdefault(one.family, []).append(bool(reaches.reaches(cells)))
    assert sum(listed["inflation"]) > len(listed["inflation"]) / 2
    assert sum(listed["escape"]) > 0.9 * len(listed["escape"])
    assert sum(listed["honest"]) <= 5  # sys, os: a person sees at a glance that they are harmless
    assert reaches.reaches(["x = (", "import gc"]) == ["cell 2, line 1: imports gc"]
    assert reaches.reaches([f"eval('{k}')\nx = eval('1')" for k in range(99)])[19:] == [
        "cell 10, line 2: uses eval"
    ]


def test_models_that_are_read_past_their_door_are_listed():
    cell = "class M:\n    def forward(self, x): return self.inner.forward(x) + super().forward(x)"
    assert reaches.reaches([cell]) == []
    assert reaches.reaches(["def f(model, x): return model.forward(x), model.table[0]"]) == [
        "cell 1, line 1: uses forward",
        "cell 1, line 1: uses table",
    ]


def test_every_line_of_a_text_is_looked_at_once():
    headings = "\n".join(["## 9. Written answer (3 points)", "x"] * 20_000)
    lab = tuple(f"## {k}. Written answer (3 points)\n\nWhy?" for k in range(4))
    answers = submission.written_answers((headings,), lab)
    assert answers == [(3, "x")] * 4
    assert len(submission.sections((headings,))) == submission.MAX_SECTIONS
    assert submission.sections(("# " + "written answer (1" * 50_000,)) == []
