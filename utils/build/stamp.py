"""The stamp of an executed notebook: what its stored outputs depend on, each part by its hash.

Parts: the code cells with their tags (prose may change without a new run), the definitions of
`utils` that they use, however deep (see `library`), with the data files beside their modules, and
the pinned versions that decide the numbers. Code is hashed as tokens, without comments and
docstrings (except where a notebook shows it), so the same stamp comes out on every Python and
platform. A notebook whose stamp holds is not run again.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from utils.build.library import Library, module_path
from utils.build.names import without_magics
from utils.build.notebooks import Built

PINS = ("torch", "transformers", "numpy", "matplotlib")


def stamp_of(root: Path, built: Built) -> dict:
    """Return the stamp of a notebook: {"code", "modules", "pins"}, all plain strings.

    `modules` maps each module (or data folder) that the notebook depends on to 12 hexadecimal
    digits, so that a stale stamp can say what changed.
    """
    code = [cell for cell in built.cells if cell.cell_type == "code"]
    texts = [cell.source + "\0" + ",".join(cell.metadata.get("tags", [])) for cell in code]
    plain = [without_magics(cell.source) for cell in code if not cell.source.startswith("%%")]
    everything = "\n".join(plain)
    by_computed_name = {f"utils.labs.checks.{built.unit}"} if built.kind == "solution" else set()
    for call, folder in (("start_lab", "checks"), ("ask", "quizzes")):
        for name in re.findall(rf"\b{call}\(\s*['\"](\w+)['\"]", everything):
            by_computed_name.add(f"utils.labs.{folder}.{name}")
    shown = Library(root).shown(everything)  # outputs that hold docstrings and comments
    modules = module_hashes(root, everything, by_computed_name)
    return {
        "code": short_hash("\1".join(texts + shown).encode()),
        "modules": modules | record_hashes(root, everything),
        "pins": pins(root),
    }


def stale_parts(stored: dict, wanted: dict) -> list[str]:
    """Return in words what changed between two stamps; nothing where they agree.

    >>> stale_parts({"code": "a", "pins": "x"}, {"code": "b", "pins": "x"})
    ['its code cells']
    """
    if not stored:
        return ["it has no stamp"]
    changed = []
    if stored.get("code") != wanted.get("code"):
        changed.append("its code cells")
    before, now = stored.get("modules", {}), wanted.get("modules", {})
    changed += [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if stored.get("pins") != wanted.get("pins"):
        changed.append("the pinned versions")
    return changed


def module_hashes(root: Path, code: str, whole: set[str]) -> dict[str, str]:
    """Return the hash of what `code` uses of each module, and of the data files beside them."""
    library = Library(root)
    library.use_code(code)
    for name in sorted(whole):
        library.use_module(name)
    used = library.used_code()
    found = {name: short_hash(text.encode()) for name, text in used.items()}
    one_by_one = {root / "utils", root / "utils" / "experiments"}  # see record_hashes
    for folder in {module_path(root, name).parent for name in used} - one_by_one:
        data = data_hash(folder)
        if data:
            found[folder.relative_to(root).as_posix() + "/*"] = data
    return dict(sorted(found.items()))


def record_hashes(root: Path, code: str) -> dict[str, str]:
    """Return the hash of each record that `code` names in a call of `recorded`."""
    paths = [
        root / "utils" / "experiments" / "records" / f"{name}.json"
        for name in sorted(set(re.findall(r"\brecorded\(\s*['\"](\w+)['\"]", code)))
    ]
    return {
        path.relative_to(root).as_posix(): short_hash(path.read_bytes().replace(b"\r\n", b"\n"))
        for path in paths
        if path.is_file()
    }


def data_hash(folder: Path) -> str:
    """Return the hash of the files under `folder` that are not Python, or an empty string."""
    total = hashlib.sha256()
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in {".py", ".pyc"} and path.name[0] != "."
    ]
    for path in files:
        content = path.read_bytes()
        if b"\0" not in content[:4096]:
            content = content.replace(b"\r\n", b"\n")  # text may be checked out either way
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return total.hexdigest()[:12] if files else ""


def pins(root: Path) -> str:
    """Return the pinned versions that decide a notebook's numbers, from constraints.txt."""
    path = root / "constraints.txt"
    text = path.read_text("utf-8") if path.is_file() else ""
    return " ".join(
        f"{name}=={found[1]}"
        for name in PINS
        if (found := re.search(rf"^{name}==(\S+)", text, re.M))
    )


def short_hash(content: bytes) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()[:12]
