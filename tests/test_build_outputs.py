"""Stored outputs and stamps: the same on every run, every platform, every Python."""

import base64
import re
import struct
import zlib

import nbformat
import pytest

from tests.tiny_course import MODULE, make_course, points_of, write
from utils.build.library import code_tokens
from utils.build.notebooks import build_source
from utils.build.outputs import SANITISE, normalise_cell, plain_png
from utils.build.sources import read_source
from utils.build.stamp import stale_parts, stamp_of
from utils.settings import project_root


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content))


def png(*extra: bytes) -> str:
    pieces = [chunk(b"IHDR", b"\0" * 13), *extra, chunk(b"IDAT", b"picture"), chunk(b"IEND", b"")]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(pieces)).decode()


def normalised(*outputs: dict) -> list:
    cell = nbformat.v4.new_code_cell("pass", outputs=[nbformat.from_dict(o) for o in outputs])
    cell.metadata["execution"] = {"iopub.status.busy": "2020-01-01T00:00:00Z"}
    normalise_cell(cell)
    assert "execution" not in cell.metadata
    return cell.outputs


def stream(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


def test_pictures_lose_their_notes_and_nothing_else():
    noted = png(chunk(b"tEXt", b"Software\0Matplotlib"), chunk(b"tIME", b"1234567"))
    assert plain_png(noted) == png()
    assert plain_png(png()) == png()
    assert plain_png("AAAA") == "AAAA"


def test_a_stream_that_came_in_pieces_is_one():
    assert normalised(stream("a"), stream("b\n")) == normalised(stream("ab\n"))
    kept = normalised(stream("a"), stream("b", "stderr"), stream("c"))
    assert [output.text for output in kept] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<object object at 0x7f9ed7fe4860>", "<object object at 0x...>"),
        ("colour 0xff is not an address", "colour 0xff is not an address"),
        ("train:   0%|          | 0/150 [00:00<?, ?step/s]", "(progress bar)"),
        ("100%|██████████| 1.2k/1.2k [00:01<00:00, 83.1it/s]", "(progress bar)"),
        ("0it [00:00, ?it/s]", "(progress bar)"),
        ("12 % of 40 [0, 1]", "12 % of 40 [0, 1]"),
        ("10 %\r100 %\r\nend", "100 %\nend"),
    ],
)
def test_text_loses_what_differs_from_run_to_run(text, clean):
    assert normalised(stream(text))[0].text == clean
    if "\r" not in text:
        shown = {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}
        assert normalised(shown)[0].data["text/plain"] == clean


def test_widgets_keep_their_text_and_lose_their_random_name():
    view = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "5f3e"},
        "text/plain": "VBox(children=())",
    }
    shown = {"output_type": "display_data", "data": view, "metadata": {}}
    assert normalised(shown)[0].data == {"text/plain": "(widget: run this cell to use it)"}


def test_a_traceback_keeps_no_file_of_this_machine():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "too long"}
    (kept,) = normalised(error | {"traceback": ["File /home/someone/x.py", "ValueError: too long"]})
    assert kept.traceback == ["ValueError: too long"]


def test_nbval_takes_out_what_the_build_takes_out():
    text = (project_root() / "tests/nbval.cfg").read_text("utf-8")
    pairs = re.findall("^regex: (.*)$\n^replace: (.*)$", text, flags=re.MULTILINE)
    assert pairs == list(SANITISE)


def test_code_is_hashed_without_layout_comments_and_docstrings():
    plain = "def f(x, y=1):\n    return g(f'{x:>{y}} {y!r}') + 1\n"
    dressed = (
        '"""Module."""\n# why\ndef f(x, y=1):  # signature\n\n'
        "  '''Docstring\n  over lines.'''\n  # reason\n  return g(f'{x:>{y}} {y!r}') + 1\n\n\n"
    )
    assert code_tokens(plain) == code_tokens(dressed)
    assert "f'{x:>{y}} {y!r}' " in code_tokens(plain)  # one token, as on Python 3.11
    for change in ("g(f'{x:>{y}} {y!r}') - 1", "g('{x:>{y}} {y!r}') + 1", "g(f'{x:>{y}}') + 1"):
        other = plain.replace("g(f'{x:>{y}} {y!r}') + 1", change)
        assert other != plain and code_tokens(other) != code_tokens(plain)
    assert code_tokens("if a:\n    b\nc\n") != code_tokens("if a:\n    b\n    c\n")
    assert code_tokens('x = "a"\n') != code_tokens('x = "b"\n')


def tiny_stamp(root, lecture=True):
    folder = "notebooks" if lecture else "solutions"
    source = read_source(root, root / folder / "source/01_tiny.py")
    return stamp_of(root, build_source(root, source, points_of)[-1])


def test_the_stamp_follows_code_library_data_and_pins(tmp_path):
    root = make_course(tmp_path)
    write(root, "constraints.txt", "torch==2.13.0\nrich==1\n")
    first = tiny_stamp(root)
    assert tiny_stamp(root) == first and first["pins"] == "torch==2.13.0"
    write(root, "constraints.txt", "torch==2.13.1\nrich==1\n")
    assert stale_parts(first, tiny_stamp(root)) == ["the pinned versions"]
    write(root, "constraints.txt", "torch==2.13.0\nrich==2\n")
    write(root, "utils/model/sums.py", MODULE.replace("# why", "# because"))
    assert tiny_stamp(root) == first
    write(root, "utils/model/sums.py", MODULE.replace("x, x, 0.0", "x, x, 1.0"))
    assert stale_parts(first, tiny_stamp(root)) == ["utils.model.sums"]
    write(root, "utils/model/sums.py", MODULE)
    write(root, "utils/model/weights.json", "{}")
    assert stale_parts(first, tiny_stamp(root)) == ["utils/model/*"]


def test_prose_does_not_touch_the_stamp_but_tags_do(tmp_path):
    root = make_course(tmp_path)
    first = tiny_stamp(root)
    path = root / "notebooks/source/01_tiny.py"
    text = path.read_text("utf-8")
    path.write_text(text.replace("# # Multiples", "# # Multiples of numbers"), "utf-8")
    assert tiny_stamp(root) == first
    path.write_text(text.replace(' tags=["nbval-ignore-output"]', ""), "utf-8")
    assert stale_parts(first, tiny_stamp(root)) == ["its code cells"]


def test_the_stamp_reaches_through_imports_of_imports(tmp_path):
    root = make_course(tmp_path)
    write(root, "utils/model/deep.py", '"""Deep."""\n\nDEPTH = 1\n')
    late = MODULE.replace(
        "    total_of_both",
        "    from utils.model import deep\n\n    assert deep.DEPTH\n    total_of_both",
    )
    write(root, "utils/model/sums.py", late)
    first = tiny_stamp(root)
    write(root, "utils/model/deep.py", '"""Deep."""\n\nDEPTH = 2\n')
    assert stale_parts(first, tiny_stamp(root)) == ["utils.model.deep"]


def test_a_solution_is_stamped_with_its_checks(tmp_path):
    root = make_course(tmp_path)
    for package in ("utils/labs", "utils/labs/checks"):
        write(root, f"{package}/__init__.py", "")
    write(root, "utils/labs/checks/01_tiny.py", "LIMIT = 1\n")
    first = tiny_stamp(root, lecture=False)
    write(root, "utils/labs/checks/01_tiny.py", "LIMIT = 2\n")
    assert stale_parts(first, tiny_stamp(root, lecture=False)) == ["utils.labs.checks.01_tiny"]


def test_questions_and_checks_are_found_by_the_name_that_is_passed(tmp_path):
    cell = '# %%\nask("01_tiny", "why")\nstart_lab("practice")\n'
    root = make_course(tmp_path, lecture=cell)
    for package in ("utils/labs/checks", "utils/labs/quizzes"):
        write(root, f"{package}/__init__.py", "")
    for module in ("quizzes/01_tiny", "checks/practice"):
        first = tiny_stamp(root)
        write(root, f"utils/labs/{module}.py", "LIMIT = 1\n")
        name = f"utils.labs.{module.replace('/', '.')}"
        assert stale_parts(first, tiny_stamp(root)) == [name]


def test_only_what_is_used_is_stamped(tmp_path):
    root = make_course(tmp_path)
    first = tiny_stamp(root)
    write(root, "utils/model/sums.py", MODULE.replace("    return x\n", "    return +x\n"))
    assert tiny_stamp(root) == first
    write(root, "utils/model/sums.py", MODULE.replace("FACTOR = 3.0", "FACTOR = 4.0"))
    assert tiny_stamp(root) == first  # the lecture uses `double` alone
    assert "utils.model.sums" in tiny_stamp(root, lecture=False)["modules"]


USES = {
    "a whole module": "from utils.model import deep\n\nprint(deep)\n",
    "an attribute": "from utils.model import deep\n\nprint(deep.first())\n",
    "a name": "from utils.model.deep import first as other\n\nprint(other())\n",
    "a dotted import": "import utils.model.deep\n\nprint(utils.model.deep.first())\n",
    "a dotted import with a name": "import utils.model.deep as d\n\nprint(d.first())\n",
    "a lazy import": "def f():\n    from utils.model.deep import first\n\n    return first()\n",
    "an import in a branch": (
        "try:\n    from utils.model.deep import first\nexcept ImportError:\n    first = None\n\n"
        "print(first)\n"
    ),
}
DEEP = '''
"""Deep."""

import math

TABLE = {}
LIMIT = 2


def register(name):
    """Return a decorator."""
    return lambda function: TABLE.setdefault(name, function)


@register("helper")
def _(x):
    return x + 10


class Helper:
    """Hold a limit."""

    limit = LIMIT


def first():
    """Return the limit of the helper."""
    return math.sqrt(Helper().limit)
'''


@pytest.mark.parametrize("uses", USES.values(), ids=USES)
def test_every_way_to_use_a_definition_is_followed(tmp_path, uses):
    root = make_course(tmp_path, lecture=f"# %%\n{uses}")
    write(root, "utils/model/deep.py", DEEP)
    first = tiny_stamp(root)
    for old, new in (("LIMIT = 2", "LIMIT = 3"), ("x + 10", "x + 11"), ("math.sqrt", "math.exp")):
        write(root, "utils/model/deep.py", DEEP.replace(old, new))
        assert stale_parts(first, tiny_stamp(root)) == ["utils.model.deep"], old


def test_imports_of_other_packages_count_where_they_are_used(tmp_path):
    root = make_course(tmp_path, lecture=f"# %%\n{USES['a name']}")
    write(root, "utils/model/deep.py", DEEP)
    first = tiny_stamp(root)
    write(root, "utils/model/deep.py", DEEP.replace("import math", "import cmath as math"))
    assert stale_parts(first, tiny_stamp(root)) == ["utils.model.deep"]
    write(root, "utils/model/deep.py", DEEP.replace("import math", "import json\nimport math"))
    assert tiny_stamp(root) == first


@pytest.mark.parametrize("shown", ["show(double)", "show.show(sums.double)"])
def test_a_definition_that_is_shown_counts_word_for_word(tmp_path, shown):
    imports = "from utils.model import sums\nfrom utils.model.sums import double\n\n"
    root = make_course(tmp_path, lecture=f"# %%\n{imports}print({shown})\n")
    first = tiny_stamp(root)
    write(root, "utils/model/sums.py", MODULE.replace("twice `x`", "two times `x`"))
    assert stale_parts(first, tiny_stamp(root)) == ["its code cells"]
    write(root, "utils/model/sums.py", MODULE.replace("three times `x`", "thrice `x`"))
    assert tiny_stamp(root) == first
