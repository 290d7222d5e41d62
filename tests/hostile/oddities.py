"""Honest notebooks written in unusual ways, and files made to keep the trusted side busy.

All are to lab 02's `causal_mask` (2 points). The honest ones have their full points in a notebook
where the cells are run from top to bottom; the grader must find the same.
"""

from __future__ import annotations

import json

from tests.hostile.corpus import IMPORTS, RIGHT, Hostile, code, notebook

# A statement that makes KEEP, a function of two tensors that the answer calls.
SETUPS = {
    "match": "match len('ab'):\n    case 2: KEEP = torch.le\n    case _: KEEP = torch.gt",
    "walrus": "print((KEEP := torch.le).__name__)",
    "for": "for KEEP in (torch.gt, torch.le): pass",
    "while": "KEEP = None\nwhile KEEP is None:\n    KEEP = getattr(torch, 'le')",
    "if": "if len('ab') > 1:\n    KEEP = torch.le\nelse:\n    KEEP = torch.gt",
    "try": "try:\n    KEEP = torch.nothing\nexcept AttributeError:\n    KEEP = torch.le",
    "with": "with torch.no_grad():\n    KEEP = getattr(torch, 'le')",
    "with as": "import contextlib\nwith contextlib.nullcontext(torch.le) as KEEP: pass",
    "augmented": "KEEP = []\nKEEP += [torch.le]\nKEEP = KEEP[0]",
    "annotated": "KEEP: 'callable' = getattr(torch, 'le')",
    "unpacked": "(_, (KEEP, *more)) = (1, list((torch.le, torch.gt)))",
    "deleted name": "KEEP = torch.le\nother = KEEP\ndel KEEP\nKEEP = other",
    "comprehension": "[KEEP := f for f in (torch.gt, torch.le)]",
    "table filled by a loop": "T = {}\nfor k in ('le', 'gt'): T[k] = getattr(torch, k)\n"
    "def KEEP(a, b): return T['le'](a, b)",
    "table filled by a call": "T = {}\ndef fill(): T['le'] = torch.le\nfill()\n"
    "def KEEP(a, b): return T['le'](a, b)",
    "table filled two calls deep": "T = {}\ndef put(k): T[k] = torch.le\ndef fill(): put('le')\n"
    "if True: fill()\ndef KEEP(a, b): return T['le'](a, b)",
    "table filled by a method": "T = {}\nT.update(le=torch.le)\n"
    "def KEEP(a, b): return T['le'](a, b)",
    "table filled by a decorator": "T = {}\ndef add(f):\n    T[f.__name__] = f\n    return f\n"
    "@add\ndef le(a, b): return a <= b\ndef KEEP(a, b): return T['le'](a, b)",
    "attribute of a class": "class Box: pass\nBox.le = staticmethod(torch.le)\n"
    "def KEEP(a, b): return Box.le(a, b)",
    "attribute of a function": "def KEEP(a, b): return KEEP.by(a, b)\n"
    "KEEP.by = getattr(torch, 'le')",
    "method of an object": "class Box:\n    def fill(self): self.le = torch.le\nbox = Box()\n"
    "box.fill()\ndef KEEP(a, b): return box.le(a, b)",
    "class method": "class Box:\n    le = None\n    @classmethod\n"
    "    def fill(cls): cls.le = torch.le\n"
    "Box.fill()\ndef KEEP(a, b): return Box.le(a, b)",
    "global of a function": "def make():\n    global KEEP\n    KEEP = torch.le\nmake()",
    "lambda": "KEEP = (lambda f: lambda a, b: f(a, b))(torch.le)",
    "lookup by name": "name = str('le')\ndef KEEP(a, b): return eval('torch.' + name)(a, b)",
    "partial": "import functools\nKEEP = functools.partial(lambda f, a, b: f(a, b), torch.le)",
    "setattr": "class Box: pass\nsetattr(Box, 'le', staticmethod(torch.le))\n"
    "def KEEP(a, b): return Box.le(a, b)",
    "main": "if __name__ == '__main__':\n    KEEP = torch.le",
    "asserted": "KEEP = torch.le\nassert (LEFT := KEEP) is torch.le\n"
    "def KEEP(a, b): return LEFT(a, b)",
    "timed line": "%time KEEP = getattr(torch, 'le')",
    "timed cell": "%%time\nKEEP = getattr(torch, 'le')",
    "captured cell": "%%capture said\nKEEP = getattr(torch, 'le')\nprint(KEEP)",
    "other commands": "%matplotlib inline\n!ls\nfiles = !ls\nKEEP = getattr(torch, 'le')\n"
    "KEEP?\n?KEEP",
    "a line that begins with %": "def KEEP(a, b):\n    width = (7\n%4)\n"
    "    return (a <= b) & (width == 3)",
    "a line that begins with !": "def KEEP(a, b):\n    return (a <= b) & (width\n!= 3)\nwidth = 4",
    "a text of commands": 'HELP = """\n%time x\n!rm\n"""\n'
    'def KEEP(a, b): return (a <= b) & (len(HELP) == 13)',
    "seven slow cells": None,
    "slow experiment": "import time\nfor _ in range(3): loss = time.sleep(9)\nKEEP = torch.le",
    "experiment that fails": "KEEP = torch.le\nresult = causal_mask('x') / 0\nprint(result)",
    "recursion limit": "import sys\nsys.setrecursionlimit(5000)\n"
    "def deep(n): return n and deep(n - 1)\n"
    "def KEEP(a, b):\n    deep(3000)\n    return a <= b",
}  # fmt: skip
ANSWER = "def causal_mask(n):\n    i = torch.arange(n)\n    return KEEP(i[None], i[:, None])"


def honest() -> list[Hostile]:
    """Return notebooks whose answer needs a statement of some kind."""
    found = []
    for name, setup in SETUPS.items():
        cells = [IMPORTS, setup, ANSWER]
        if setup is None:
            slow = [f"import time\ns{k} = time.sleep(0.7)" for k in range(7)]
            cells = [IMPORTS, *slow, "KEEP = torch.le\ns = [s0, s1, s2, s3, s4, s5, s6]", ANSWER]
            cells[-1] += "\ndef used(): return s\n"
        found.append(Hostile(name, "odd", notebook(*cells), 2))
    return found


def files() -> list[Hostile]:
    """Return files that cost much to read, some with a right answer."""
    headings = "\n".join(["## 9. Written answer (3 points)", "x"] * 37_000)
    cells = json.loads(notebook(IMPORTS, RIGHT))["cells"]

    def with_text(text):
        more = [*cells, {"cell_type": "markdown", "metadata": {}, "source": text}]
        return json.dumps({"cells": more, "metadata": {}, "nbformat": 4}).encode()

    good = notebook(IMPORTS, RIGHT)
    long_numbers = b'"n": [' + b",".join([b"7" * 4000] * 2000)
    return [
        Hostile("headings", "malformed", with_text(headings[:1_000_000]), 2),
        Hostile("one long heading", "malformed", with_text("#" * 900_000), 2),
        Hostile("a heading of words", "malformed",
                with_text("# " + "written answer (1" * 50_000), 2),
        Hostile("a heading of brackets", "malformed",
                with_text("# written answer (" + "1" * 900_000), 2),
        Hostile("empty lines", "malformed", with_text("\n" * 900_000), 2),
        Hostile("nested metadata", "malformed",
                good.replace(b'"metadata": {}', b'"metadata": ' + b'[' * 90_000, 1)),
        Hostile("nested objects", "malformed", b'{"a":' * 90_000),
        Hostile("a number without end", "malformed",
                good.replace(b'"nbformat": 4', b'"nbformat": ' + b"9" * 1_000_000, 1), 2),
        Hostile("many long numbers", "malformed",
                good.replace(b'"nbformat": 4', long_numbers + b'], "nbformat": 4', 1), 2),
        Hostile("numbers beyond JSON", "malformed",
                good.replace(b'"nbformat": 4', b'"x": [NaN, 1e999], "nbformat": 4', 1), 2),
        Hostile("keys twice", "malformed",
                good.replace(b'"nbformat": 4', b'"cells": [], "nbformat": 4', 1)),
        Hostile("surrogates in a text", "malformed",
                with_text("## \ud800 \udfff written answer (3 points)"), 2),
        Hostile("too many cells", "malformed", notebook(*["x = 1"] * 3000, IMPORTS, RIGHT)),
        Hostile("too much text", "malformed", with_text("x" * (1 << 21))),
    ]  # fmt: skip


def results() -> list[Hostile]:
    """Return submissions whose results cost much to read or to compare."""

    def one(name, source):
        return Hostile(name, "inflation", notebook(IMPORTS, code(source)))

    prime = "(1 << 61) - 1"
    return [
        one("sixty dictionaries of colliding keys", "def causal_mask(n):\n"
            f"    return [{{({prime}) * k: 1 for k in range(1, 19000)}} for _ in range(60)]"),
        one("a list of colliding numbers",
            f"def causal_mask(n): return [({prime}) * k for k in range(300000)]"),
        one("colliding tuples",
            f"def causal_mask(n): return {{(({prime}) * k, 1): 1 for k in range(9000)}}"),
        one("many items", "def causal_mask(n): return [[0] * 1000] * 1900"),
        one("deep items", "def causal_mask(n):\n    x = []\n    for _ in range(19): x = [x] * 2\n"
            "    return x"),
        one("a large array", "def causal_mask(n): return torch.zeros(4000, 3000)"),
        one("a large text", "def causal_mask(n): return 'x' * (15 << 20)"),
        one("a large error", "def causal_mask(n): raise ValueError('x' * (63 << 20))"),
        one("socket of the host", "import socket\ndef causal_mask(n):\n"
            "    s = socket.socket(40, socket.SOCK_STREAM)\n" + RIGHT.split("\n")[1]),
    ]  # fmt: skip


def everyone() -> list[Hostile]:
    """Return all of them."""
    return [*honest(), *files(), *results()]
