"""The house rules, held by machine: who imports whom, one word per thing, nothing written twice."""

import ast
import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from utils.settings import SECRETS, SETTINGS, project_root

ROOT = project_root()
STAGES = [
    ["settings"],
    ["ray_cluster", "runtime"],
    ["world"],
    ["text"],
    ["tokens"],
    ["model"],
    ["train"],
    ["align"],
    ["evaluate"],
    ["parallel"],
    ["parallel"],
    ["zoo"],
    ["assistants"],
    ["report"],
    ["evidence"],
    ["capstone"],
    ["reviews"],
    ["labs"],
    ["grading"],
    ["build"],
    ["experiments"],
    ["book"],
    ["bootstrap", "commands", "doctor", "jupyter", "units"],
    ["cli"],
]
# Records and what is claimed of them: leaves of the capstone, on which its evidence rests. They
# import nothing else of either, so that the capstone's stages may call the evidence.
RECORDS = {f"utils.capstone.{name}" for name in ("claims", "energy", "lineage", "records")}
# Reads what processes send that it started itself, from code that it runs anyway.
OWN_PROCESSES = {"utils/parallel/processes.py"}
RANK = {name: k for k, stage in enumerate(STAGES) for name in stage}
MODULES = sorted((ROOT / "utils").rglob("*.py"))
SOURCES = sorted((ROOT / "notebooks/source").glob("*.py")) + sorted(
    (ROOT / "solutions/source").glob("*.py")
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT)).replace("\\", "/")


def stage_of(path: Path) -> str:
    return path.relative_to(ROOT / "utils").parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def test_every_module_has_a_stage():
    unknown = {stage_of(p) for p in MODULES} - set(RANK) - {"__init__"}
    assert not unknown, f"no stage for {sorted(unknown)}: add it to STAGES in the order of the data"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_come_from_earlier_stages(path):
    here = stage_of(path)
    for module in imported_modules(parsed(path)):
        parts = module.split(".")
        if parts[0] != "utils" or len(parts) < 2 or parts[1] not in RANK or parts[1] == here:
            continue
        if here == "evidence" and ".".join(parts[:3]) in RECORDS:
            continue
        assert RANK[parts[1]] < RANK[here], f"{name_of(path)} ({here}) imports {module}"


def test_what_evidence_rests_on_imports_nothing_of_the_pipeline():
    for name in RECORDS:
        path = ROOT / f"{name.replace('.', '/')}.py"
        for module in imported_modules(parsed(path)):
            assert not module.startswith(("utils.capstone", "utils.evidence")), name_of(path)


@pytest.mark.parametrize("path", sorted((ROOT / "utils/train").glob("losses.py")), ids=name_of)
def test_losses_import_torch_alone(path):
    roots = {module.split(".")[0] for module in imported_modules(parsed(path))}
    assert roots <= {"torch", "__future__"}


def test_models_know_no_loss_optimizer_or_tokenizer():
    for path in sorted((ROOT / "utils/model").glob("*.py")):
        for module in imported_modules(parsed(path)):
            assert not module.startswith(("utils.tokens", "utils.train", "utils.text")), name_of(
                path
            )


def test_the_environment_is_read_in_one_place():
    for path in MODULES:
        if name_of(path) == "utils/settings.py":
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("os", "environ"), ("os", "getenv")}, (
                    f"{name_of(path)}:{node.lineno}: the environment is read in utils.settings"
                )


def test_every_setting_is_in_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in readme for name in (*SETTINGS, *SECRETS))


def test_package_files_are_empty():
    for path in (ROOT / "utils").rglob("__init__.py"):
        assert path.read_text() == "", f"{name_of(path)} must stay empty"


def test_no_star_imports_exec_or_unsafe_loading():
    for path in MODULES + SOURCES:
        for node in ast.walk(parsed_source(path)):
            where = f"{name_of(path)}:{getattr(node, 'lineno', '?')}"
            if isinstance(node, ast.ImportFrom):
                assert "*" not in {alias.name for alias in node.names}, where
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called == "torch.load":
                    keywords = {k.arg: k.value for k in node.keywords}
                    safe = keywords.get("weights_only")
                    assert isinstance(safe, ast.Constant) and safe.value is True, where
                if name_of(path) not in OWN_PROCESSES:
                    assert called not in {"pickle.load", "pickle.loads", "eval"}, where
            if isinstance(node, ast.ExceptHandler):
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                broad = node.type is None or ast.unparse(node.type) in {
                    "Exception",
                    "BaseException",
                }
                assert not (silent and broad), f"{where}: an error is swallowed without a word"


def parsed_source(path: Path) -> ast.Module:
    """Parse a module, or a notebook source with its magics left out."""
    lines = path.read_text("utf-8").splitlines()
    return ast.parse("\n".join("pass" if re.match(r"\s*[%!]", line) else line for line in lines))


def body_fingerprint(node: ast.FunctionDef) -> str | None:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    text = "\n".join(ast.unparse(statement) for statement in body)
    return hashlib.sha256(text.encode()).hexdigest() if text.count("\n") >= 2 else None


def test_no_function_body_appears_twice():
    seen: dict[str, str] = {}
    for path in MODULES + SOURCES + sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(parsed_source(path)):
            if isinstance(node, ast.FunctionDef) and (key := body_fingerprint(node)):
                where = f"{name_of(path)}:{node.name}"
                assert key not in seen, f"{where} repeats {seen[key]}: call it instead"
                seen[key] = where


FOREIGN = {
    "n_embd": "d_model",
    "hidden_size": "d_model",
    "n_layer": "n_layers",
    "num_layers": "n_layers",
    "num_hidden_layers": "n_layers",
    "n_head": "n_heads",
    "num_heads": "n_heads",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "head_dim": "d_head",
    "intermediate_size": "d_ff",
    "block_size": None,  # keys per block in streaming attention is its own thing
    "max_seq_len": "context_length",
    "attention_mask_bool": "mask",
}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_word_per_thing(path):
    if path.name == "pretrained.py":
        return
    for node in ast.walk(parsed(path)):
        names = []
        if isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = [node.id]
        for name in names:
            ours = FOREIGN.get(name)
            assert ours is None, f"{name_of(path)}:{node.lineno} says {name}; ours is {ours}"


def plain_texts(tree: ast.AST) -> list[ast.Constant]:
    """Return the strings of a module that are no part of an f-string and no docstring."""
    formatted = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }  # fmt: skip
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in formatted and "\n" not in node.value
    ]


LEFT_OPEN = re.compile(r"\{[^{}]* (if|for) [^{}]*\}|[^{]\{[a-z_]\w*\}[^}]")


def test_no_message_of_a_check_shows_its_code():
    """Braces in a text without an f before it reach the learner as they stand."""
    assert LEFT_OPEN.search("64 rows: {'a' if b else 'c'}; d") and LEFT_OPEN.search("of {n} rows")
    assert not LEFT_OPEN.search("{'n_params': 3}") and not LEFT_OPEN.search("{a, b}")
    found = [
        f"{path.name}:{text.lineno}: {text.value}"
        for path in sorted((ROOT / "utils" / "labs").rglob("*.py"))
        for text in plain_texts(parsed_source(path))
        if LEFT_OPEN.search(text.value)
    ]
    assert not found, "\n".join(found)


def has_public_docstring(node) -> bool:
    return node.name.startswith("_") or ast.get_docstring(node) is not None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_things_are_documented(path):
    tree = parsed(path)
    if path.name == "__init__.py":
        return
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert has_public_docstring(node), f"{name_of(path)}:{node.lineno} {node.name}"


def test_nothing_shadows_the_library():
    strays = [p for p in ROOT.glob("*/**/utils.py") if ".venv" not in p.parts]
    strays += [p for p in ROOT.glob("*/**/utils") if p.is_dir() and ".venv" not in p.parts]
    assert not strays, f"these would be imported instead of the library: {strays}"


def test_readme_links_and_commands_exist():
    readme = (ROOT / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z]+)", readme):
        if target not in {"and"}:
            assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def test_readme_maps_all_units_and_tells_what_is_there():
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d\d) \| ([^|]+) \| (\d+) \| ([^|]+) \| ([^|]+) \|$", readme, re.M)
    assert [row[0] for row in rows] == [f"{k:02d}" for k in range(18)]
    for number, _, _, lecture, lab in rows:
        for cell, folder in ((lecture, "notebooks"), (lab, "labs")):
            there = bool(list((ROOT / folder).glob(f"{number}_*.ipynb")))
            assert there == cell.strip().startswith("[there]"), f"unit {number}: {cell}"


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name]


def test_generated_and_private_folders_are_not_tracked():
    for path in tracked_files():
        top = path.relative_to(ROOT).parts[0]
        assert top not in {".venv", "work", "artifacts"}, path


def test_no_file_is_too_large():
    for path in tracked_files():
        if path.exists():
            megabytes = path.stat().st_size / 1e6
            assert megabytes < 8, f"{name_of(path)} has {megabytes:.1f} MB"


MINUTES = re.compile(r"^# \*\*(\d+) minutes\*\*", re.M)
LAB_MINUTES = re.compile(r"\blab\s+(?:# )?of\s+(\d+) minutes")
EXERCISE_MINUTES = re.compile(r"^# exercise: .* minutes=(\d+) difficulty=\d$", re.M)


@pytest.mark.parametrize("path", sorted((ROOT / "solutions/source").glob("*.py")), ids=name_of)
def test_promised_minutes_add_up(path):
    """A lab's minutes are those of its exercises and a quarter to read; README adds the lecture.

    A design review of ten points takes an hour.
    """
    lab, lecture = (
        folder.read_text("utf-8") for folder in (path, ROOT / "notebooks/source" / path.name)
    )
    promised, exercises = int(MINUTES.search(lab)[1]), map(int, EXERCISE_MINUTES.findall(lab))
    reviews = 60 * len(re.findall(r"written answer \(10 points\)", lab, re.I))
    assert 1.05 <= (promised - reviews) / sum(exercises) <= 1.35, "a bonus does not count"
    assert int(LAB_MINUTES.search(lecture.replace("\n# ", " "))[1]) == promised
    row = re.search(
        rf"^\| {path.stem[:2]} \| [^|]+ \| (\d+) \|", (ROOT / "README.md").read_text(), re.M
    )
    assert int(row[1]) == int(MINUTES.search(lecture)[1]) + promised


def test_forms_and_citation_can_be_read():
    yaml = pytest.importorskip("yaml")
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 3
    for path in forms:
        form = yaml.safe_load(path.read_text("utf-8"))
        assert {"name", "description", "body"} <= set(form), path.name
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids)), path.name
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["version"] == project["version"]
    assert cited["cff-version"] == "1.2.0" and cited["title"] and cited["authors"]
