"""Hostile and honest submissions for what else a check asks of a learner's code than `causal_mask`.

Gradients (lab 03, `rms_norm`), texts and dictionaries (lab 01, `count_pairs`), weights changed in
place and files (lab 04, `clip_gradients` and `save_checkpoint`), random draws and models (lab 05,
`sample_next_token` and `speculative_decode`). Each states the points that its honest code is worth.
"""

from __future__ import annotations

import functools
import json

from tests.hostile.corpus import Hostile, code, notebook
from utils.grading.unproven import WEIGHTLESS
from utils.labs import run
from utils.settings import project_root

KINDS = {
    "01_tokens": ("count_pairs",),
    "03_decoder": ("rms_norm",),
    "04_pretraining": ("clip_gradients", "save_checkpoint"),
    "05_generation": ("sample_next_token", "speculative_decode"),
}


@functools.cache
def solved(lab: str) -> dict[str, str]:
    """Return the code cells of a solution by their ids, the imports under "imports"."""
    text = (project_root() / "solutions" / f"{lab}.ipynb").read_text("utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    sources = {cell["id"]: "".join(cell["source"]) for cell in cells}
    return sources | {"imports": "".join(cells[0]["source"])}


def points(exercise: str) -> int:
    """Return the points of an exercise of `KINDS` that count when it is graded."""
    lab = next(lab for lab, names in KINDS.items() if exercise in names)
    parts = [c for c in run.checks_of(lab) if c.exercise == exercise]
    return sum(c.points for c in parts if (lab, exercise, c.title) not in WEIGHTLESS)


def honest(lab: str, *more: str) -> tuple[str, ...]:
    """Return the cells of the course's answers to a lab's exercises, and further ones."""
    cells = solved(lab)
    return (cells["imports"], *(cells[name] for name in KINDS[lab]), *more)


def of_lab(lab: str) -> list[Hostile]:
    """Return the submissions for one lab; their points are those of all its exercises here."""
    every = sum(map(points, KINDS[lab]))
    unlike = {"01_tokens": texts, "03_decoder": gradients, "04_pretraining": places}
    return [
        Hostile("as solved", "honest", notebook(*honest(lab)), every),
        Hostile("imported", "inflation", notebook(*imported(lab))),
        *unlike.get(lab, chances)(lab, every),
    ]


def imported(lab: str) -> list[str]:
    """Return cells that take the answers from where the course has them."""
    source = (project_root() / "solutions" / "source" / f"{lab}.py").read_text("utf-8")
    dotted = [line.split()[2] for line in source.splitlines() if line.startswith("# exercise: ")]
    wanted = [name.rpartition(".") for name in dotted if name.rpartition(".")[2] in KINDS[lab]]
    cells = [f"from {module} import {name}" for module, _, name in wanted]
    wrapped = "\n".join(f"import {m} as m{k}\n{n} = m{k}.{n}" for k, (m, _, n) in enumerate(wanted))
    return [solved(lab)["imports"], wrapped, *cells]


PATCHES = {
    "patched conversion": """
        def patch():
            from utils.labs import student, values
            class Yes:
                __eq__ = __le__ = __ge__ = lambda *a: True
                __ne__ = lambda *a: False
                __hash__ = object.__hash__
            student.to_plain = values.to_plain = lambda value, depth=0: Yes()
            return True
        class Runs: value = patch()
    """,
    "patched backend": """
        def patch():
            from utils.grading import worker
            from utils.labs import student
            def call(self, *a, **k):
                empty = dict.fromkeys(("arguments", "shared", "gradients"), [])
                return {"result": None, **empty, "largest": 0}
            student.LocalBackend.call = worker.LocalBackend.call = call
            return True
        class Runs: value = patch()
    """,
    "patched pipe": """
        def patch():
            from utils.grading import worker
            worker.Pipe.write = lambda self, value: None
            return True
        class Runs: value = patch()
    """,
    "reply of its own": """
        def patch():
            from utils.grading import worker
            real = worker.Pipe.write
            def write(self, value):
                if "reply" in value: value = {"reply": {"passed": True, "points": 99}}
                real(self, value)
            worker.Pipe.write = write
            return True
        class Runs: value = patch()
    """,
}


def patches(lab: str) -> list[Hostile]:
    """Return submissions that answer rightly and break their end of the pipe: nothing to earn.

    One that says nothing only waits for a limit, in every lab the same.
    """
    return [
        Hostile(name, "inflation", notebook(*honest(lab, code(source))))
        for name, source in PATCHES.items()
        if name != "patched pipe" or lab == "01_tokens"
    ]


def gradients(lab: str, every: int) -> list[Hostile]:
    """Return submissions to `rms_norm`: values and gradients, 1, 2 and 1 points."""

    def one(name, source, points=0, family="inflation", may_lose=False):
        cells = ("import torch", code(source))
        return Hostile(name, family, notebook(*cells), points, may_lose)

    def returns(name, result, points=0, family="inflation", setup=""):
        source = f"{code(setup)}\ndef rms_norm(x, weight, eps=1e-5):\n    return {result}"
        return one(name, source, points, family)

    right = (
        "(torch.nn.functional.rms_norm(x.double(), x.shape[-1:], None, eps) * weight).to(x.dtype)"
    )
    liar = """
        class Liar(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None):
                return True
            __eq__ = lambda *a: True
            __ne__ = lambda *a: False
            shape = property(lambda self: torch.Size([2]))
            dtype = property(lambda self: torch.float32)
    """
    array = """
        import numpy
        class Liar(numpy.ndarray):
            def __eq__(self, other): return numpy.ones(numpy.shape(other), bool)
            def __array_ufunc__(self, *a, **k): return True
            dtype = property(lambda self: numpy.dtype("float32"))
    """
    endless = """
        from collections.abc import Mapping
        class Endless(Mapping):
            def __len__(self): return 1
            def __getitem__(self, key): return 1.0
            def __iter__(self):
                k = 0
                while True:
                    yield k
                    k += 1
    """
    cyclic = "cycle = []\ncycle.append(cycle)"
    rude = """
        class Rude(Exception):
            def __str__(self): raise SystemExit("no text")
        class Long(Exception):
            def __str__(self): return "<script>" * 10 ** 7
        class Meta(type):
            def __instancecheck__(cls, other): return True
            def __getattribute__(cls, name): raise Rude
        class Odd(metaclass=Meta): pass
    """
    cut = f"{right}.detach()"
    zeros = """
        def patch():
            torch.autograd.grad = lambda *a, **k: [torch.zeros_like(t) for t in a[1]]
            return True
        class Runs: value = patch()
    """
    quiet = """
        def patch():
            from utils.labs import student
            def nothing_cut(name, result, leaves, upstream):
                return [torch.ones_like(leaf).detach().numpy() for leaf in leaves]
            student.gradients_of = nothing_cut
            return True
        class Runs: value = patch()
    """
    frames = """
        import sys
        def rms_norm(x, weight, eps=1e-5):
            frame = sys._getframe()
            while frame:
                for name in ("want", "wanted", "expected", "square"):
                    if name in frame.f_locals: return frame.f_locals[name]
                frame = frame.f_back
            return x
    """
    collected = """
        import gc
        def rms_norm(x, weight, eps=1e-5):
            found = [t for t in gc.get_objects() if isinstance(t, torch.Tensor)]
            return next((t for t in found if t.shape == x.shape and t is not x), x)
    """
    later = """
        import threading, time
        def rms_norm(x, weight, eps=1e-5):
            out = torch.zeros_like(x)
            def fill():
                time.sleep(0.001)
                out.copy_(x)
            threading.Thread(target=fill).start()
            return out
    """
    small = f"""
        def rms_norm(x, weight, eps=1e-5):
            if x.dim() > 1: return x
            return {right}
    """
    return [
        returns("torch's own", right, every, "honest"),
        returns("result with a gradient", f"({right}).requires_grad_()", every, "honest"),
        returns("values alone", f"({right}).detach()", every - 1, "honest"),
        one("patched autograd", f"{code(zeros)}\ndef rms_norm(x, weight, eps=1e-5):\n"
            f"    return {cut}", every - 1),
        one("patched gradients", f"{code(quiet)}\ndef rms_norm(x, weight, eps=1e-5):\n"
            f"    return {cut}", every - 1),
        one("right for one axis alone", small, 1),
        returns("lying tensor", "x.as_subclass(Liar)", setup=liar),
        returns("lying array", "x.numpy().view(Liar)", setup=array),
        returns("endless dictionary", "Endless()", setup=endless, family="exhaustion"),
        returns("cycle", "cycle", setup=cyclic, family="malformed"),
        returns("generator", "(t for t in x)", family="malformed"),
        returns("meta", "x.to('meta')", family="malformed"),
        returns("sparse", "x.reshape(-1, x.shape[-1]).to_sparse()", family="malformed"),
        returns("complex", "x.to(torch.cfloat)", family="malformed"),
        returns("quantized", "torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8)",
                family="malformed"),
        returns("not a number", "x * float('nan')", family="malformed"),
        returns("a billion weights", "torch.nn.Linear(30000, 30000).weight", family="exhaustion"),
        returns("odd class", "Odd", setup=rude, family="malformed"),
        one("rude error", code(rude) + "\ndef rms_norm(*a): raise Rude", family="malformed"),
        one("long error", code(rude) + "\ndef rms_norm(*a): raise Long", family="malformed"),
        one("frames", frames),
        one("memory of others", collected),
        one("changed later", later),
        *patches(lab),
    ]  # fmt: skip


def texts(lab: str, every: int) -> list[Hostile]:
    """Return submissions to `count_pairs`, which takes and gives a dictionary."""

    def one(name, source, points=0, family="inflation"):
        return Hostile(
            name, family, notebook("from itertools import pairwise", code(source)), points
        )

    counter = """
        from collections import Counter
        class Bag(Counter):
            def __eq__(self, other): return False
        def count_pairs(words):
            bag = Bag()
            for ids, n in words.items():
                for pair in pairwise(ids): bag[pair] += n
            return bag
    """
    liar = """
        class Same(dict):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __contains__(self, key): return True
            def __getitem__(self, key): return 1
            def keys(self): return {(1, 2)}
        def count_pairs(words): return Same()
    """
    number = """
        class One(int):
            def __eq__(self, other): return True
            def __hash__(self): return 1
        def count_pairs(words):
            return {(One(a), One(b)): One(7) for ids in words for a, b in pairwise(ids)}
    """
    return [
        one("a Counter of its own", counter, every, "honest"),
        one("lying dictionary", liar),
        one("lying numbers", number),
        one("keys that collide", "def count_pairs(words):\n"
            "    return {((1 << 61) - 1) * k: 1 for k in range(19000)}", 0, "exhaustion"),
        one("too many keys", "def count_pairs(words):\n"
            "    return {(k, k): 1 for k in range(10 ** 6)}", 0, "exhaustion"),
        one("keys that are lists", "def count_pairs(words): return [([1], 2)]", 0, "malformed"),
        one("huge text", "def count_pairs(words): return 'x' * 10 ** 9", 0, "exhaustion"),
        one("surrogates", "def count_pairs(words): return {'\\ud800': 1}", 0, "malformed"),
        one("argument taken away", "def count_pairs(words):\n    words.clear()\n    return {}"),
        *patches(lab),
    ]  # fmt: skip


def places(lab: str, every: int) -> list[Hostile]:
    """Return submissions to `clip_gradients` and `save_checkpoint`: things changed in their place.

    Without an answer to the other exercise; 3 and 4 points.
    """
    clip, save = map(points, KINDS[lab])

    def clips(name, source, points=0, family="inflation"):
        return Hostile(name, family, notebook(solved(lab)["imports"], code(source)), points)

    def saves(name, body, points=0, family="inflation", may_lose=False):
        source = f"def save_checkpoint(path, tensors, info):\n    {body}"
        cells = (solved(lab)["imports"], source)
        return Hostile(name, family, notebook(*cells), points, may_lose)

    forged = """
        def patch():
            from utils.labs import student, values
            def after_call(argument, calls=None): return [(0.0, 0.0)]
            student.after_call = values.after_call = after_call
            return True
        class Runs: value = patch()
        def clip_gradients(parameters, max_norm):
            if not max_norm > 0: raise ValueError("max_norm")
            found = [p.grad for p in parameters if p.grad is not None]
            return torch.cat([g.flatten() for g in found]).norm().item() if found else 0.0
    """
    replaced = """
        def clip_gradients(parameters, max_norm):
            if not max_norm > 0: raise ValueError("max_norm")
            parameters = [p for p in parameters if p.grad is not None]
            if not parameters: return 0.0
            norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in parameters))
            if math.isfinite(norm) and norm > max_norm:
                for p in parameters: p.grad = p.grad * (max_norm / norm)
            return norm
    """
    return [
        clips("a new gradient in its place", replaced, 1),  # the docstring says: in place
        clips("forged arguments", forged),
        saves("link out of the folder", "Path(path).symlink_to('/etc/passwd')"),
        saves("link to a pipe without end", "Path(path).symlink_to('/dev/zero')", 0, "exhaustion"),
        saves("link to a map without end", "Path(path).symlink_to('/proc/self/pagemap')", 0,
              "exhaustion"),
        saves("a pipe in its place", "os.mkfifo(path)", 0, "exhaustion"),
        saves("folder taken away", "__import__('shutil').rmtree(Path(path).parent)"),
        saves("folder written over", "Path(path).parent.rename('/tmp/elsewhere')"),
        saves("sparse file", "Path(path).touch(); os.truncate(path, 31 << 20)", 0, "exhaustion"),
        saves("many names", "[(Path(path).parent / str(k)).touch() for k in range(30000)]", 0,
              "exhaustion"),
        saves("names of bytes", "open(os.fsencode(Path(path).parent) + b'/\\xff\\xfe', 'w')", 0,
              "malformed"),
        saves("header without end", "Path(path).write_bytes(b'\\xff' * 8 + b'{' * 10 ** 6)", 0,
              "malformed"),
        saves("pickle", "torch.save(tensors, path)"),
        *patches(lab),
    ]  # fmt: skip


def chances(lab: str, every: int) -> list[Hostile]:
    """Return submissions to `sample_next_token` and `speculative_decode`: chance and models."""
    sample, _ = map(points, KINDS[lab])
    cells = solved(lab)

    def one(name, source, points=0, family="inflation", may_lose=False):
        given = (cells["imports"], cells["sample_next_token"])
        return Hostile(name, family, notebook(*given, code(source)), points, may_lose)

    endless = """
        def speculative_decode(target, draft, token_ids, max_new_tokens, **k):
            while True: target(token_ids[None])
    """
    broken = """
        def speculative_decode(target, draft, token_ids, max_new_tokens, **k):
            target.shapes_read = draft.shapes_read = "none"
            return Speculation(token_ids, 1, 1)
    """
    seeds = """
        def patch():
            torch.manual_seed = lambda s: torch.default_generator
            torch.Generator.manual_seed = lambda self, s: self
            return True
    """
    lying = """
        class Lying(tuple):
            token_ids = property(lambda self: torch.tensor([2]))
            n_target_passes = n_accepted = 0
            def __len__(self): return 3
            def __iter__(self): return iter(range(10 ** 9))
        def speculative_decode(*a, **k): return Lying((1, 2, 3))
    """
    return [
        one("no models", "", sample, "honest"),
        one("endless passes", endless, sample, "exhaustion"),
        one("broken stand-in", broken, sample),
        one("patched seeds", seeds, sample),
        one("lying tuple", lying, sample),
        one("a token that is no number",
            "def sample_next_token(*a, **k): return torch.tensor([True])"),
        one("a token out of range", "def sample_next_token(logits, *a, **k):\n"
            "    return torch.full((len(logits),), 2 ** 62)"),
        one("always the first", "def sample_next_token(logits, *a, **k):\n"
            "    return torch.zeros(len(logits), dtype=torch.int64)"),
        *patches(lab),
    ]  # fmt: skip
