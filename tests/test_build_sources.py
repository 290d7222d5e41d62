"""What stops the build, with file and line: markers, exercises, checks, tags, names, leaks."""

import pytest

from tests.tiny_course import LAB, MODULE, POINTS, make_course, points_of, write
from utils.build.notebooks import build_source
from utils.build.sources import BuildError, read_source

LAB_PATH, LECTURE_PATH = "solutions/source/01_tiny.py", "notebooks/source/01_tiny.py"


def built(root, path=LAB_PATH, points=points_of):
    return build_source(root, read_source(root, root / path), points)


def faults(root, path=LAB_PATH, points=points_of) -> str:
    with pytest.raises(BuildError) as caught:
        built(root, path, points)
    return str(caught.value)


def line_of(text: str, wanted: str) -> int:
    lines = text.lstrip("\n").splitlines()
    return next(number for number, line in enumerate(lines, 1) if wanted in line)


def test_lab_has_stub_and_solution_has_body(tmp_path):
    lab, solution = built(make_course(tmp_path))
    by_id = {cell.id: cell.source for cell in lab.cells}
    assert by_id["double"].endswith('raise NotImplementedError("your code: return twice `x`")')
    assert by_id["double"].startswith('def double(x: float) -> float:\n    """Return twice')
    assert ">>> double(2.0)" in by_id["double"] and "total_of_both" not in by_id["double"]
    answers = {cell.id: cell.source for cell in solution.cells}
    assert "# why: one rounding" in answers["double"]
    assert answers["double"] in MODULE
    assert by_id["double-check"].startswith('check("double")\n')
    assert by_id["double-exercise"] == (
        "**Exercise 1** · `double` · 2 points · 10 minutes · difficulty 1 of 3"
    )
    assert "· 1 point ·" in by_id["triple-exercise"]
    order = [cell.id for cell in lab.cells]
    assert order.index("double") == order.index("double-exercise") + 1
    assert order.index("double-check") == order.index("double") + 1


def test_answers_leave_blanks_that_run(tmp_path):
    lab, solution = built(make_course(tmp_path))
    lab_text = "\n".join(cell.source for cell in lab.cells)
    assert "choice = ...  # your code here" in lab_text
    assert "*Your answer here.*" in lab_text and "third multiple" not in lab_text
    solved = "\n".join(cell.source for cell in solution.cells)
    assert 'choice = "b"' in solved and "The third multiple of two." in solved
    assert "SOLUTION" not in lab_text + solved


def test_a_cell_that_needs_answers_waits_in_lab_and_solution_alike(tmp_path):
    wanted = 'if done("double", "triple"):\n    six = triple(2.0)\n    print(six)'
    for notebook in built(make_course(tmp_path)):
        assert wanted in [cell.source for cell in notebook.cells]


def test_lab_and_solution_share_their_ids_and_every_id_is_valid(tmp_path):
    lab, solution = built(make_course(tmp_path, LAB + "# %%\nprint(1)\n# %%\nprint(1)\n"))
    ids = [cell.id for cell in lab.cells]
    assert ids == [cell.id for cell in solution.cells]
    assert len(set(ids)) == len(ids) and all(len(name) <= 64 for name in ids)


def test_ids_of_other_cells_stay_when_one_is_edited(tmp_path):
    before = {cell.id for cell in built(make_course(tmp_path))[0].cells}
    edited = LAB.replace("print(six)", "print(six + 0)")
    after = {cell.id for cell in built(make_course(tmp_path, edited))[0].cells}
    assert len(before - after) == 1


def test_first_cell_and_metadata_say_where_the_source_is(tmp_path):
    root = make_course(tmp_path)
    for notebook in built(root) + built(root, LECTURE_PATH):
        assert notebook.source in notebook.cells[0].source
        assert "do not edit" in notebook.cells[0].source
        assert notebook.notebook().metadata["course"]["source"] == notebook.source


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("# END SOLUTION\n", "", "# BEGIN SOLUTION", "without # END SOLUTION"),
        ("# BEGIN SOLUTION\n", "", "# END SOLUTION", "without # BEGIN SOLUTION"),
        ('choice = "b"', "# BEGIN SOLUTION", "# BEGIN SOLUTION\n# END", "inside the region"),
        ("# BEGIN SOLUTION", "#BEGIN SOLUTION", "#BEGIN", "looks like a marker"),
        ("# BEGIN SOLUTION", "# Begin Solution", "# Begin", "looks like a marker"),
        ("# BEGIN SOLUTION", "# BEGIN SOLUTON", "SOLUTON", "looks like a marker"),
        ("# BEGIN SOLUTION", "### BEGIN SOLUTION", "###", "looks like a marker"),
        ("# END SOLUTION", "# END SOLUTIONS", "SOLUTIONS", "looks like a marker"),
        ("<!-- END SOLUTION -->", "<!-- END SOLUTON -->", "SOLUTON", "looks like a marker"),
        ("<!-- BEGIN SOLUTION -->", "<!--BEGIN SOLUTION-->", "<!--B", "looks like a marker"),
        ("<!-- END SOLUTION -->", "# END SOLUTION", "# # END", "looks like a marker"),
        ("# exercise: utils.model.sums.double", "# Exercise: utils.model.sums.double",
         "# Exercise", "malformed"),
        ("# exercise: utils.model.sums.double", "# excercise: utils.model.sums.double",
         "# excercise", "malformed"),
        ("points=2 minutes=10", "points=2", "sums.double", "malformed"),
        ("difficulty=1", "difficulty=4", "difficulty=4", "malformed"),
        ("points=2 minutes", "points=2  minutes", "points=2 ", "malformed"),
        ("# exercise: utils.model.sums.double", "x = 1\n# exercise: utils.model.sums.double",
         "sums.double", "stands alone"),
        ("sums.double points", "sums.duble points", "sums.duble", "has no duble; it defines dou"),
        ("utils.model.sums.double p", "utils.model.sum.double p", "model.sum.", "no module"),
        ("needs:double,triple", "needs:double,tripel", "six =", "names no exercise above"),
        ('["needs:double,triple"]', '["nbval-ignore"]', '"nbval-ignore"', "unknown tag"),
        ('tags=["needs:double,triple"]', 'tgas=["a"]', "tgas", "unknown cell setting tgas"),
        ("print(six)", 'hint("duoble")', "duoble", "names no exercise of this lab"),
        ("print(six)", 'print("""a\n  b""")', 'print("""a', "string over several lines"),
        ("print(six)", 'print(f"""{six}\n  b""")', 'print(f"""', "string over several lines"),
        ("print(six)", "%timeit double(1.0)", "%timeit", "can't hold a magic"),
        ("print(six)", "print(six", "print(six", "syntax error"),
        ("print(choice in", "print(six, choice in", "print(six, ch", "six is not defined in an"),
        ("import math\n", "", "sums.double",
         "uses math, which no earlier cell of the lab defines: `import"),
        ("from utils.model.sums import FACTOR\n", "", "sums.triple",
         "defines: `from utils.model.sums import FACTOR`"),
        ("def hint(name)", "def clue(name)", "sums.double",
         "imports hint: `from utils.labs.api import hint`"),
        ("# Write `double`.", "# Write `double`:\n# total_of_both = math.fsum([x, x, 0.0])",
         "total_of_both", "the lab would show a line of double"),
        ("# The third multiple of two.", "# A written answer that is long enough to tell.\n"
         "# <!-- END SOLUTION -->\n# A written answer that is long enough to tell.\n"
         "# <!-- BEGIN SOLUTION -->", "A written", "show a line of the answer at"),
        ('start_lab("01_tiny")', 'start_lab("02_tiny")', "02_tiny", "this lab is '01_tiny'"),
        ('start_lab("01_tiny")', "started", "import math", 'lacks start_lab("01_tiny")'),
        ("print(six)", "x = six\ntotal_of_both = math.fsum([x, x, 0.0])",
         "total_of_both", "the lab would show a line of double"),
    ],
)  # fmt: skip
def test_every_fault_has_its_message_with_file_and_line(tmp_path, old, new, where, message):
    assert old in LAB
    text = LAB.replace(old, new, 1)
    root = make_course(tmp_path, text)
    line = line_of(text, where.split("\n")[0])
    if "inside the region" in message:
        line += 1
    if "line of the answer" in message:
        line += 2
    assert any(
        fault.startswith(f"{LAB_PATH}:{line}: ") and message in fault
        for fault in faults(root).splitlines()
    ), faults(root)


def test_ordinary_words_are_no_markers(tmp_path):
    text = LAB.replace("print(six)", "# the solution of the exercise: see above\nprint(six)")
    text = text.replace("# Write `double`.", "# This exercise: two points. A solution ends it.")
    assert len(built(make_course(tmp_path, text))) == 2


def test_all_faults_are_reported_at_once(tmp_path):
    text = LAB.replace("sums.double points", "sums.duble points").replace(
        "# END SOLUTION", "# END SOLUTIONS"
    )
    root = make_course(tmp_path, text)
    assert faults(root).count("\n") >= 1  # the region without an end, and the misspelt end


def test_exercises_and_checks_must_agree(tmp_path):
    root = make_course(tmp_path)
    assert "double has points=2 but its checks give 3" in faults(
        root, points=lambda unit: POINTS | {"double": 3}
    )
    assert "triple has no check in utils/labs/checks/01_tiny.py" in faults(
        root, points=lambda unit: {"double": 2}
    )
    assert "a check for quadruple but no exercise" in faults(
        root, points=lambda unit: POINTS | {"quadruple": 1}
    )


def test_the_same_exercise_twice_is_refused(tmp_path):
    marker = "# %%\n# exercise: utils.model.sums.double points=2 minutes=10 difficulty=1\n"
    assert "a second exercise called double" in faults(make_course(tmp_path, LAB + marker))


def test_an_exercise_needs_a_docstring(tmp_path):
    root = make_course(tmp_path)
    write(root, "utils/model/sums.py", MODULE.replace('    """Return three times `x`."""\n', ""))
    assert "has no docstring" in faults(root)


def test_lectures_hold_no_answers_and_no_exercises(tmp_path):
    marker = "# exercise: utils.model.sums.double points=2 minutes=10 difficulty=1"
    for cell in ("# BEGIN SOLUTION\nx = 1\n# END SOLUTION", marker):
        root = make_course(tmp_path, lecture=f"# %%\n{cell}\n")
        assert "in solutions/source" in faults(root, LECTURE_PATH)
    root = make_course(tmp_path, lecture='# %% tags=["needs:double"]\nprint(1)\n')
    assert f"{LECTURE_PATH}:1: unknown tag 'needs:double'" in faults(root, LECTURE_PATH)


def test_a_lectures_cell_on_the_real_model_waits_until_that_is_prepared(tmp_path):
    cells = [
        '# %% tags=["real"]\nif has_real():\n    x = 1\nelse:\n    print(0)\n',
        '# %% tags=["real"]\ny = 2\n\nprint(y)\n',
    ]
    (lecture,) = built(make_course(tmp_path, lecture="".join(cells)), LECTURE_PATH)
    asked, wrapped = lecture.cells[1:]
    assert asked.source == "if has_real():\n    x = 1\nelse:\n    print(0)"  # asks itself
    assert wrapped.source == "if has_real():\n    y = 2\n\n    print(y)"
    assert wrapped.metadata["tags"] == ["real"]


@pytest.mark.parametrize(
    ("code", "message"),
    [("%time x = 1", "the tag real can't hold a magic"), ('x = """\n"""', "over several lines")],
)
def test_what_cannot_wait_for_the_real_model_is_refused(tmp_path, code, message):
    root = make_course(tmp_path, lecture=f'# %% tags=["real"]\n{code}\n')
    assert f"{LECTURE_PATH}:2:" in faults(root, LECTURE_PATH)
    assert message in faults(root, LECTURE_PATH)


def test_labs_do_not_depend_on_the_real_model(tmp_path):
    root = make_course(tmp_path, lab='# %% tags=["real"]\nprint(1)\n')
    assert f"{LAB_PATH}:1: unknown tag 'real'" in faults(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", ":1: no cells"),
        ("x = 1\n# %%\ny = 2\n", ":1: text before the first cell"),
        ("# %%\n\n# %%\nx = 1\n", "an empty code cell"),
        ("# %% [raw]\n# x\n", ":1: unknown cell setting [raw]"),
        ("# %%\nx = 1 +\n", ":2: syntax error"),
    ],
)
def test_malformed_sources_are_refused(tmp_path, text, message):
    root = make_course(tmp_path, lecture=text)
    assert f"{LECTURE_PATH}{message}" in faults(root, LECTURE_PATH) or message in faults(
        root, LECTURE_PATH
    )


def test_a_cell_start_inside_a_string_is_no_cell_or_is_refused(tmp_path):
    root = make_course(tmp_path, lecture='# %%\nx = """\n# %% [markdown]\n"""\nprint(x)\n')
    try:
        notebook = built(root, LECTURE_PATH)[0]
    except BuildError as error:
        assert LECTURE_PATH in str(error)
    else:
        assert len(notebook.cells) == 2


def test_source_names_follow_the_pattern(tmp_path):
    root = make_course(tmp_path)
    write(root, "solutions/source/tokens.py", LAB)
    assert "NN_topic.py" in faults(root, "solutions/source/tokens.py")


CLASS = '''
"""A class."""

import math


class Scaler:
    """Scale numbers.

    Its factor is given.
    """

    limit = 5

    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        """Return `x` times the factor."""
        return math.fsum([x * self.factor, 0.0])

    @property
    def name(self):
        """Return a name."""
        return "scaler with a factor " + str(self.factor)
'''


def test_of_a_class_the_documented_methods_are_asked_for(tmp_path):
    marker = "# exercise: utils.model.scale.Scaler points=2 minutes=10 difficulty=1"
    text = LAB.replace(
        "# exercise: utils.model.sums.double points=2 minutes=10 difficulty=1", marker
    )
    text = (
        text.replace("needs:double,triple", "needs:Scaler")
        .replace("# exercise: utils.model.sums.triple points=1 minutes=5 difficulty=2", "print(2)")
        .replace("triple(2.0)", "Scaler(2.0)")
    )
    root = make_course(tmp_path, text)
    write(root, "utils/model/scale.py", CLASS)
    lab, solution = built(root, points=lambda unit: {"Scaler": 2})
    stub = next(cell.source for cell in lab.cells if cell.id == "Scaler")
    assert "self.factor = factor" in stub and "limit = 5" in stub
    assert stub.count("raise NotImplementedError") == 2
    assert "fsum" not in stub and "scaler with" not in stub
    namespace = stub.split("    @property")[0]
    assert namespace.rstrip().endswith('"your code: return `x` times the factor")')
    full = next(cell.source for cell in solution.cells if cell.id == "Scaler")
    assert full in CLASS


def test_a_stub_keeps_decorators_defaults_and_a_signature_over_lines(tmp_path):
    root = make_course(tmp_path)
    body = '''
import functools
import math


@functools.lru_cache
def double(
    x: float,
    *,
    exact: bool = True,
) -> float:
    """Return twice `x`, e.g. 4.0 for 2.0."""
    return math.fsum([x, x]) if exact else x + x


def triple(x: float) -> float:
    """Return three times `x`."""
    return double(x) + x
'''
    write(root, "utils/model/sums.py", body)
    assert "uses functools" in faults(root)
    write(root, "solutions/source/01_tiny.py", LAB.replace("import math", "import math, functools"))
    stub = next(cell.source for cell in built(root)[0].cells if cell.id == "double")
    assert stub.startswith("@functools.lru_cache\ndef double(\n    x: float,\n    *,\n")
    assert stub.endswith('twice `x`, e.g. 4.0 for 2.0")')


def test_a_demonstration_of_an_error_may_use_unknown_names(tmp_path):
    cell = '# %% tags=["raises-exception"]\nprint(not_defined_anywhere)\n'
    assert len(built(make_course(tmp_path, LAB + cell))) == 2


def test_names_of_a_waiting_cell_serve_cells_that_wait_as_long(tmp_path):
    later = '# %% tags=["needs:double,triple"]\nprint(six + 1)\n'
    assert len(built(make_course(tmp_path, LAB + later))) == 2
    sooner = '# %% tags=["needs:double"]\nprint(six + 1)\n'
    assert "six is not defined" in faults(make_course(tmp_path, LAB + sooner))


RESULT = '\n# %% [markdown] tags=["result"]\n# Twice two is four.\n\n# %% [markdown]\n# ## Next\n'


def test_what_an_experiment_shows_is_folded_until_it_is_run(tmp_path):
    for notebook in built(make_course(tmp_path, lab=LAB + RESULT)):
        (cell,) = [c for c in notebook.cells if "Twice two is four." in c.source]
        assert cell.source.startswith("<details><summary>When you have run it")
        assert cell.source.endswith("\n\n</details>") and not cell.metadata.get("tags")
        assert "## Next" not in cell.source


def test_a_cell_that_reveals_a_number_is_shipped_collapsed(tmp_path):
    text = '# %% [markdown]\n# # 01\n\n# %% tags=["reveals"]\nprint(4)\n'
    (lecture,) = built(make_course(tmp_path, lecture=text), LECTURE_PATH)
    (cell,) = [c for c in lecture.cells if c.source == "print(4)"]
    assert cell.metadata["jupyter"] == {"outputs_hidden": True}


WRITTEN = """
# %% [markdown]
# ## Written answer (3 points)
#
# Why?
#
# <!-- BEGIN SOLUTION -->
# Because of the third multiple.
# <!-- END SOLUTION -->
"""


def test_below_a_written_answer_stands_the_cell_that_opens_its_rubric(tmp_path):
    for notebook in built(make_course(tmp_path, lab=LAB + WRITTEN)):
        last = notebook.cells[-1]
        assert last.id == "written-1-rubric" and last.source.endswith("written_answer(1)")
