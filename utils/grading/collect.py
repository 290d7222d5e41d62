"""What was handed in: a row for every learner, with a notebook or the reason why there is none.

Names of folders and files are chosen by learners, or by a platform on their behalf. Looking through
a learner's folder is bounded in depth and number, links are not followed, and what is left aside is
named. Rows are told apart by `identity`, whatever other names are handed in with it.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from utils.settings import project_root

MAX_DEPTH = 12  # folders within each other
MAX_ENTRIES = 5000  # files and folders of a learner that are looked at
MAX_NAMED = 5  # further files that a note names
SYSTEM_FILES = ("__macosx", "thumbs.db", "desktop.ini")
ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz")


class Found(NamedTuple):
    """One learner: the notebook, or None, and what a person should know about it.

    `learner` is distinct in a class. `identity` depends on the learner's own entry alone as long as
    no other has the same name, so marks that were given stay with who earned them.
    """

    learner: str
    path: Path | None
    note: str
    identity: str


def find_submissions(lab: str, paths: Iterable[Path]) -> list[Found]:
    """Return what was handed in, for files, and folders with a file or a folder per learner.

    Raises:
        FileNotFoundError: for a path that does not exist.
    """
    found: list[tuple[str, Path | None, str, str]] = []
    for number, path in enumerate(map(Path, paths)):
        if path.is_file() or path.is_symlink():
            found.append((stem_of(path.name), *as_notebook(path, None), f"{number}/"))
            continue
        if not path.is_dir():
            raise FileNotFoundError(f"there is no submission {str(path)!r}")
        for entry in sorted(path.iterdir()):
            if is_system_file(entry.name):
                continue
            place = f"{number}/{entry.name}"
            if entry.is_dir() and not entry.is_symlink():
                found.append((entry.name, *notebook_in(entry, lab), place))
            else:
                found.append((stem_of(entry.name), *as_notebook(entry, lab), place))
    return list(told_apart(found))


def told_apart(found: list[tuple[str, Path | None, str, str]]) -> Iterator[Found]:
    """Yield rows with distinct names: a name that comes again gets a number that nobody has."""
    counts = Counter(name for name, *_ in found)
    taken, seen = set(counts), set()
    for name, path, note, place in found:
        learner, number = name, 2
        if name in seen:
            while (learner := f"{name} ({number})") in taken:
                number += 1
        seen.add(name)
        taken.add(learner)
        yield Found(learner, path, note, name if counts[name] == 1 else f"{name}/{place}")


def is_system_file(name: str) -> bool:
    """Return whether a file or folder was left by a system and by no learner.

    >>> [is_system_file(name) for name in ("__MACOSX", "._ada.ipynb", "ada")]
    [True, True, False]
    """
    return name.startswith(".") or name.casefold() in SYSTEM_FILES


def stem_of(name: str) -> str:
    """Return a file's name less what says that it is a notebook, whatever a platform added.

    >>> stem_of("ada.IPYNB"), stem_of("ada.ipynb.json"), stem_of("ada.b.zip")
    ('ada', 'ada', 'ada.b')
    """
    place = name.casefold().find(".ipynb")
    return name[:place] if place > 0 else Path(name).stem


def is_notebook(name: str) -> bool:
    """Return whether a file's name ends as a notebook's does."""
    return name.casefold().endswith(".ipynb")


def other_lab(name: str, lab: str) -> str | None:
    """Return the lab whose notebook has this name, if it is another one than `lab`."""
    labs = {path.stem.casefold(): path.stem for path in (project_root() / "labs").glob("*.ipynb")}
    named = labs.get(stem_of(name).casefold())
    return None if named == lab else named


def as_notebook(path: Path, lab: str | None) -> tuple[Path | None, str]:
    """Return a file that is a notebook by its name, or why it is none.

    Args:
        path: of a file.
        lab: refuse a notebook that has the name of another lab; None for any name.
    """
    name = path.name
    if is_notebook(name):
        if lab and (other := other_lab(name, lab)):
            return None, f"{name} has the name of another lab, {other}, and not that of a learner"
        return path, ""
    if name.casefold().endswith(ARCHIVES):
        return None, f"{name} is an archive: unpack it into a folder with the learner's name"
    if ".ipynb" in name.casefold():
        return None, f"{name} is not called a notebook: rename it, so that it ends in .ipynb"
    return None, f"{name} is not a notebook (.ipynb)"


def files_in(folder: Path) -> tuple[list[Path], str]:
    """Return the files in a folder and those within it, and what was not looked at.

    Folders are opened one after the other and not within each other, so their depth costs nothing.
    """
    files: list[Path] = []
    left = ""
    waiting, n_seen = [(folder, 0)], 0
    while waiting:
        place, depth = waiting.pop()
        if depth > MAX_DEPTH:
            left = f"folders more than {MAX_DEPTH} levels deep were not looked at"
            continue
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    n_seen += 1
                    if n_seen > MAX_ENTRIES:
                        return sorted(files), f"more than {MAX_ENTRIES} files: not all looked at"
                    if is_system_file(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((Path(entry.path), depth + 1))
                    else:
                        files.append(Path(entry.path))
        except OSError as error:
            left = f"a folder can't be read ({error.strerror})"
    return sorted(files), left


def notebook_in(folder: Path, lab: str) -> tuple[Path | None, str]:
    """Return the notebook of a learner's folder: the one with the lab's name, or the only one.

    Beside it a note: why there is none, or what else is there and is not graded.
    """
    files, left = files_in(folder)
    notebooks = [file for file in files if is_notebook(file.name)]
    named = [file for file in notebooks if stem_of(file.name).casefold() == lab.casefold()]
    others = [file for file in notebooks if other_lab(file.name, lab)]
    rest = [file for file in notebooks if file not in others]
    for candidates in (named, rest):
        if len(candidates) == 1:
            stray = [file for file in notebooks if file != candidates[0]]
            notes = [f"not graded, since {candidates[0].name} is: {listed(stray)}"] if stray else []
            return candidates[0], "; ".join([*notes, *([left] if left else [])])
    if rest:
        why = f"there are {len(rest)} notebooks: which one is {lab}.ipynb? ({listed(rest)})"
    elif others:
        why = f"the notebook is another lab's: {listed(others)}"
    elif files:
        why = "; ".join(as_notebook(file, lab)[1] for file in files[:MAX_NAMED])
        why = f"there is no notebook in the learner's folder: {why}"
    else:
        why = "there is no notebook in the learner's folder"
    return None, f"{why}; {left}" if left else why


def listed(files: list[Path]) -> str:
    """Return the names of some files."""
    names = ", ".join(file.name for file in files[:MAX_NAMED])
    more = len(files) - MAX_NAMED
    return names if more <= 0 else f"{names} and {more} more"


def visible(name: str) -> str:
    """Return a name as a table shows it: distinct names look distinct.

    Signs that can't be seen, and those by which a name differs from another that looks the same,
    are written as their numbers; so is the backslash, so that nothing else reads like one.

    >>> visible("ada"), visible("a\\u200bda"), visible("Zoë"), visible("Zoe\\u0308")
    ('ada', 'a\\\\u200bda', 'Zoë', 'Zoe\\\\u0308')
    """
    composed = unicodedata.normalize("NFC", name) == name
    shown = []
    for place, sign in enumerate(name):
        kind = unicodedata.category(sign)
        hidden = kind[0] in "CZ" and sign != " "
        hidden |= kind[0] == "M" and not composed
        hidden |= sign == " " and (place in (0, len(name) - 1) or name[place - 1] == " ")
        hidden |= sign in "\\\u115f\u1160\u2800\u3164\uffa0"  # letters that show nothing
        hidden |= unicodedata.normalize("NFKC", sign) != sign  # looks like another sign
        shown.append(f"\\u{ord(sign):04x}" if hidden and ord(sign) < 1 << 16 else sign)
        if hidden and ord(sign) >= 1 << 16:
            shown[-1] = f"\\U{ord(sign):08x}"
    return "".join(shown)
