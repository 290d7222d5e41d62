"""A course of one unit in a temporary folder, for the tests of the build."""

import textwrap
from pathlib import Path

POINTS = {"double": 2, "triple": 1}
MODULE = '''
"""Multiples of a number."""

from __future__ import annotations

import math

FACTOR = 3.0


def double(x: float) -> float:
    """Return twice `x`. It is exact.

    >>> double(2.0)
    4.0
    """
    # why: one rounding for both terms
    total_of_both = math.fsum([x, x, 0.0])
    return total_of_both


def triple(x: float) -> float:
    """Return three times `x`."""
    return double(x) + math.fsum([x, 0.0, 0.0]) * FACTOR / 3.0


def unrelated(x: float) -> float:
    """Return `x`."""
    return x
'''
SETUP = """
import math

from utils.model.sums import FACTOR


def start_lab(name):
    print(f'lab {name}')


def started(name):
    try:
        return globals()[name](1.0) > 0
    except NotImplementedError:
        return False


def done(*names):
    missing = [name for name in names if not started(name)]
    if missing:
        print("skipped until solved:", ", ".join(missing))
    return not missing


def check(name):
    points = {"double": 2, "triple": 1}[name]
    print(f"{name}: {points * done(name)} of {points} points")


def hint(name):
    print("think about", name)


start_lab("01_tiny")
"""
LAB = (
    """
# %% [markdown]
# # Lab 01
# %%"""
    + SETUP
    + """
# %% [markdown]
# Write `double`.
# %%
# exercise: utils.model.sums.double points=2 minutes=10 difficulty=1
# %%
# exercise: utils.model.sums.triple points=1 minutes=5 difficulty=2
# %% tags=["needs:double,triple"]
six = triple(2.0)
print(six)
# %%
# BEGIN SOLUTION
choice = "b"
# END SOLUTION
print(choice in (..., "b"))
# %% [markdown]
# What do you see?
#
# <!-- BEGIN SOLUTION -->
# The third multiple of two.
# <!-- END SOLUTION -->
"""
)
LECTURE = """
# %% [markdown]
# # Multiples
# %%
import time

from utils.model.sums import double
# %%
print(double(2.0), object())
# %% tags=["nbval-ignore-output"]
print(time.perf_counter())
# %% tags=["raises-exception"]
double("two")
# %%
import matplotlib.pyplot as plt

plt.plot([1, 2])
plt.show()
"""


def write(root: Path, relative: str, text: str) -> Path:
    """Write `text` to a file of the course at `root`."""
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
    return path


def make_course(root: Path, lab: str = LAB, lecture: str = LECTURE) -> Path:
    """Write a library of one module, one lab and one lecture; return the course's folder."""
    for package in ("utils", "utils/model"):
        write(root, f"{package}/__init__.py", "")
    write(root, "utils/model/sums.py", MODULE)
    if lab:
        write(root, "solutions/source/01_tiny.py", lab)
    if lecture:
        write(root, "notebooks/source/01_tiny.py", lecture)
    return root


def points_of(unit: str) -> dict[str, int]:
    """Return what the checks of the tiny course give."""
    return dict(POINTS)
