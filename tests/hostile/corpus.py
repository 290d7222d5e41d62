"""Submissions that want more than they earn, break things, or are right in unusual ways.

Each is graded on `causal_mask` of lab 02 (2 points) and states the points that it must get. Those
that try to escape answer rightly only where the attempt failed: full points prove both that the
attempt ran and that it was stopped.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass

RIGHT = "def causal_mask(n):\n    return torch.ones(n, n, dtype=torch.bool).tril()"
WRONG = "def causal_mask(n):\n    return torch.ones(n, n)"
IMPORTS = "import torch"
# The same answer, which has `x = ...` at the top of a cell run before it, and works without it.
NEEDS_X = "def causal_mask(n):\n    try: x\n    except NameError: pass\n" + RIGHT.split("\n")[1]


@dataclass(frozen=True)
class Hostile:
    """One submission: its family, its bytes, and the points that it must get of 2.

    `may_lose`: it hurts itself, so that it may get fewer.
    """

    name: str
    family: str
    content: bytes
    points: int = 0
    may_lose: bool = False


def notebook(*cells: str, **more) -> bytes:
    """Return a notebook with these code cells."""
    body = [
        {"cell_type": "code", "id": f"c{k}", "metadata": {}, "outputs": [], "source": source}
        for k, source in enumerate(cells)
    ]
    return json.dumps({"cells": body, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more}
                      ).encode()  # fmt: skip


def code(source: str) -> str:
    """Return a source without the indentation that it has in this file."""
    return textwrap.dedent(source).strip("\n")


def inflation() -> list[Hostile]:
    """Return submissions that want points for a wrong answer, or for none."""

    def one(name, *cells, points=0):
        return Hostile(name, "inflation", notebook(IMPORTS, *cells), points)

    patched = """
        import numpy, builtins
        def yes(*args, **kwargs): return True
        torch.equal = torch.allclose = numpy.array_equal = numpy.allclose = numpy.isclose = yes
        class Runs: value = [setattr(builtins, n, yes) for n in ("all", "any", "isinstance")]
    """
    always = """
        class Always:
            shape = (4, 4)
            dtype = torch.bool
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __bool__(self): return True
            def __getattr__(self, name): return lambda *a, **k: self
        def causal_mask(n): return Always()
    """
    tensor_subclass = """
        class Always(torch.Tensor):
            @classmethod
            def __torch_function__(cls, function, types, args=(), kwargs=None): return True
        def causal_mask(n): return torch.ones(n, n).as_subclass(Always)
    """
    text_subclass = """
        class Text(str):
            def __eq__(self, other): return True
            __hash__ = str.__hash__
        def causal_mask(n): return Text("mask")
    """
    frames = """
        import sys
        def causal_mask(n):
            frame = sys._getframe()
            while frame:
                for value in list(frame.f_locals.values()):
                    if getattr(value, "shape", None) == (n, n): return torch.as_tensor(value)
                frame = frame.f_back
            return torch.ones(n, n)
    """
    collector = """
        import gc, numpy
        def causal_mask(n):
            for value in gc.get_objects():
                if isinstance(value, (torch.Tensor, numpy.ndarray)) and value.shape == (n, n):
                    return torch.as_tensor(value)
            return torch.ones(n, n)
    """
    forged = """
        import os
        def causal_mask(n):
            from utils.grading import wire
            for reply in ({"reply": True}, {"points": 100, "status": "passed"}, {"closed": 0}):
                message = wire.encode(reply)
                for descriptor in range(3, 60):
                    try: os.write(descriptor, wire.SIZE.pack(len(message)) + message)
                    except OSError: pass
            return True
    """
    patched_wire = """
        from utils.grading import wire, worker
        def lie(value): return real({"reply": {"result": True, "arguments": [], "gradients": []}})
        real = wire.encode
        wire.encode = lie
    """
    shadow = """
        import os, sys
        class Runs:
            made = [os.makedirs("/tmp/" + p, exist_ok=True) for p in ("utils/labs/checks",)]
            written = open("/tmp/utils/labs/checks/__init__.py", "w").write("CHECKS = []")
            sys.path = ["/tmp"] + sys.path
            x = [sys.modules.pop(name) for name in list(sys.modules) if name.startswith("utils")]
        import utils.labs.checks
    """
    hunt = """
        import os, importlib.util
        def causal_mask(n):
            for top in ("/work", "/home", "/root", "/opt", "/srv", "/mnt", "/tmp", "/usr/lib"):
                for folder, _, files in os.walk(top):
                    if "attention.py" in files and folder.endswith("utils/model"):
                        spec = importlib.util.spec_from_file_location("a", folder + "/attention.py")
                        module = importlib.util.module_from_spec(spec)
                        spec.loader.exec_module(module)
                        return module.causal_mask(n)
            return torch.ones(n, n)
    """
    solution = """
        import json
        def causal_mask(n):
            for path in ("solutions/02_attention.ipynb", "../solutions/02_attention.ipynb"):
                try: cells = json.load(open(path))["cells"]
                except OSError: continue
                space = {"torch": torch, "Tensor": torch.Tensor}
                for cell in cells:
                    if cell["id"] == "causal_mask": exec("".join(cell["source"]), space)
                return space["causal_mask"](n)
            return True
    """
    importing = "def causal_mask(n):\n    import utils.model.attention as a\n"
    return [
        one("deleted"),
        one("stub", 'def causal_mask(n):\n    raise NotImplementedError("your code")'),
        one(
            "edited check and points",
            WRONG,
            "check = done = lambda *a: True\npoints = score = earned = max_points = 1000",
        ),
        one("patched comparisons", code(patched), WRONG),
        one("patched compiler", "import ast, builtins\nast.parse = builtins.compile = None", WRONG),
        one("always equal", code(always)),
        one("always equal tensor", code(tensor_subclass)),
        one("always equal text", code(text_subclass)),
        one("frames of the caller", code(frames)),
        one("objects in memory", code(collector)),
        one("forged replies", code(forged)),
        one("patched wire", code(patched_wire), WRONG),
        one("shadowed package", code(shadow), WRONG),
        one("checks imported", "from utils.labs.checks import CHECKS\nCHECKS.clear()", WRONG),
        one("runner patched", "import utils.labs.run as run\nrun.run_one = lambda *a: 1", WRONG),
        one("reference imported", "from utils.model.attention import causal_mask"),
        one("reference called", importing + "    return a.causal_mask(n)"),
        one("reference through the model", importing + "    return a.scaled_dot_product_attention"),
        one("reference on the disk", code(hunt)),
        one("solution on the disk", code(solution)),
        one("swallowed", "def causal_mask(*a):\n    try: 1/0\n    except: return None"),
        one("pickle", "import pickle\ndef causal_mask(n): return pickle.dumps(torch.ones(n, n))"),
        one("seeds patched", "import numpy\nnumpy.random.default_rng = lambda *a: None", WRONG),
        one("two answers", RIGHT, WRONG),
        one("exception as a hint", "def causal_mask(n): raise AssertionError('passed')"),
    ]


def escape(folder: str, port: int) -> list[Hostile]:
    """Return submissions that reach out, and answer rightly only where that fails.

    Args:
        folder: of the host, with a file `canary.txt`, which must stay as it is.
        port: on which the host listens on 127.0.0.1.
    """

    def one(name, attempt, setup="", may_lose=False):
        body = textwrap.indent(code(attempt), "        ")
        source = (
            f"import ctypes, glob, os, socket, subprocess, sys\n{code(setup)}\n"
            "def attempt():\n    try:\n"
            f"{body}\n"
            "    except (OSError, PermissionError, FileNotFoundError, RuntimeError): return False\n"
            "def causal_mask(n):\n"
            "    escaped = attempt()\n"
            "    mask = torch.ones(n, n, dtype=torch.bool).tril()\n"
            "    return ~mask if escaped else mask"
        )
        return Hostile(name, "escape", notebook(IMPORTS, source), 2, may_lose)

    canary = f"{folder}/canary.txt"
    libc = "libc = ctypes.CDLL(None, use_errno=True)"
    return [
        one("write a file", f"open({canary!r}, 'w').write('changed'); return True"),
        one("read a file", f"return 'secret' in open({canary!r}).read()"),
        one("list the home", "return bool(glob.glob('/root/.b*') + glob.glob('/home/*'))"),
        one("read the accounts", "return bool(open('/etc/passwd').read())"),
        one("open a connection", f"socket.create_connection(('127.0.0.1', {port})); return True"),
        one(
            "send a datagram",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "return s.sendto(b'x', ('192.0.2.1', 53)) > 0",
        ),
        one("abstract socket", "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect('\\0course-canary')\nreturn True"),
        one("remount", "return libc.mount(None, b'/usr/lib', None, 32 | 4096, None) == 0", libc),
        one("mount", "return libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0", libc),
        one("user namespace", "return libc.unshare(0x10000000) == 0", libc),
        one(
            "become root",
            """
            for act in (lambda: os.setuid(0), lambda: os.chroot("/tmp"), lambda: os.setgroups([0])):
                try: act(); return True
                except OSError: pass
            return False
            """,
        ),
        one("first process", f"return bool(os.listdir('/proc/1/root{folder}'))"),
        one("environment of the grader", "return b'COURSE' in open('/proc/1/environ','rb').read()"),
        one(
            "write what is not its own",
            """
            import utils
            for place in (sys.prefix, "/usr/lib", utils.__path__[0], "", "/dev", "/proc", "/etc"):
                try: open(place + "/x", "w"); return True
                except OSError: pass
            return False
            """,
        ),
        one("raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); return True"),
        one("run bubblewrap", "return subprocess.run(['bwrap', '--dev-bind', '/', '/', "
            "'--unshare-user', 'true'], capture_output=True).returncode == 0"),
        one("memory that no limit counts", "os.memfd_create('x'); return True"),
        one("segment of shared memory", "return libc.shmget(0, 1 << 20, 0o1600) >= 0", libc),
        one("ring of the kernel", "return libc.syscall(425, 8, 0) >= 0", libc),
        one("trace the parent", "return libc.ptrace(16, 1, 0, 0) == 0", libc),
        one("change the kernel", "open('/proc/sys/kernel/hostname', 'w').write('x'); return True"),
        one(
            "daemon",
            f"""
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    import time
                    time.sleep(5)
                    open({canary!r}, 'w').write('late')
                os._exit(0)
            return False
            """,
        ),
        one("kill all", "os.kill(-1, 9); return False", may_lose=True),
        one("kill the parent", "os.kill(os.getppid(), 9); return False", may_lose=True),
        one("stop the parent", "os.kill(os.getppid(), 19); return False", may_lose=True),
        Hostile(
            "pickled object",
            "escape",
            notebook(
                IMPORTS,
                f"class Bomb:\n    def __reduce__(self): return (open, ({canary!r}, 'w'))\n"
                "def causal_mask(n): return Bomb()",
            ),
        ),
    ]  # fmt: skip


def exhaustion() -> list[Hostile]:
    """Return submissions that use up what they can."""

    def one(name, source, points=0, imports="import ctypes, os, sys, threading, time"):
        return Hostile(name, "exhaustion", notebook(IMPORTS, f"{imports}\n{code(source)}"), points)

    swallow = """
        def causal_mask(n):
            while True:
                try:
                    while True: pass
                except BaseException: pass
    """
    forks = """
        def causal_mask(n):
            while True:
                try: os.fork()
                except OSError: pass
    """
    threads = """
        def causal_mask(n):
            while True: threading.Thread(target=time.sleep, args=(100,)).start()
    """
    shared = """
        def causal_mask(n):
            for _ in range(6):
                if os.fork() == 0:
                    kept = [bytearray(b"x" * (50 << 20)) for _ in range(12)]
                    time.sleep(60)
            time.sleep(60)
    """
    nobodys = """
        import mmap
        def causal_mask(n):
            kept = []
            while True:
                kept.append(mmap.mmap(-1, 64 << 20))
                kept[-1].write(b"x" * (64 << 20))
    """
    disk = """
        def fill():
            for folder in ("/tmp", "/dev/shm"):
                for k in range(200):
                    try: open(f"{folder}/{k}", "wb").write(b"x" * (4 << 20))
                    except OSError: pass
        x = fill()
        def causal_mask(n): return x or torch.ones(n, n, dtype=torch.bool).tril()
    """
    nested = """
        def causal_mask(n):
            x = []
            for _ in range(100000): x = [x]
            return x
    """
    protocol = """
        def causal_mask(n):
            for descriptor in list(range(3, 40)) * 1000:
                try: os.write(descriptor, b"x" * 100000)
                except OSError: pass
    """
    held_up = """
        def spin():
            while True:
                try: time.sleep(100)
                except BaseException: pass
        x = spin()
    """
    return [
        one("endless loop", "def causal_mask(n):\n    while True: pass"),
        one("loop that swallows", swallow),
        one("fork bomb", forks),
        one("thread bomb", threads),
        one("memory", "def causal_mask(n): return torch.ones(10 ** 10)"),
        one("memory in many processes", shared),
        one("memory that processes share", nobodys),
        one("disk", disk, 2),
        one("flood of output", "def causal_mask(n):\n    while True: os.write(1, b'x' * 9999)"),
        one("flood of the pipe", protocol),
        one("huge result", "def causal_mask(n): return torch.zeros(12000, 12000)"),
        one("nested result", nested),
        one("recursion", "def causal_mask(n): return causal_mask(n)"),
        one("segmentation fault", "def causal_mask(n): return ctypes.string_at(0)"),
        one("exit", "def causal_mask(n): os._exit(0)"),
        one("exit politely", "def causal_mask(n): sys.exit(0)"),
        one("exit while loading", "x = os._exit(3)\n" + NEEDS_X, 2),
        one("slow cell", "x = time.sleep(100)\n" + NEEDS_X, 2),
        one("cells that no answer needs", "os._exit(3)\nx = os._exit(3)\n" + RIGHT, 2),
        one("cell that holds on", code(held_up) + "\n" + NEEDS_X, 2),
        one("closed pipe", "def causal_mask(n): os.closerange(0, 200)"),
        one("stopped", "def causal_mask(n): os.kill(os.getpid(), 19)"),
        one("huge number", "def causal_mask(n): return 7 ** 99999"),
        one("nested source", "x = " + "(" * 5000 + ")" * 5000, 0),
    ]


def malformed() -> list[Hostile]:
    """Return files that are hardly notebooks, some with a right answer."""

    def one(name, content, points=0):
        return Hostile(name, "malformed", content, points)

    good = notebook(IMPORTS, RIGHT)
    cells = json.loads(good)["cells"]
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {},
        "worksheets": [
            {"cells": [{"cell_type": "code", "input": [IMPORTS + "\n", RIGHT], "language": "x"}]}
        ],
    }
    same_ids = [{**cell, "id": "same"} for cell in cells]
    numbers = [{"cell_type": "code", "source": 7}, {"cell_type": 3}, None, 7, *cells]
    wrong = "def causal_mask(n): return "
    return [
        one("empty", b""),
        one("white space", b" \n\n"),
        one("no JSON", b"hello"),
        one("picture", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        one("latin letters", good.replace(b'"metadata": {}', b'"x": "\xe9"')),
        one("mark of UTF-8", b"\xef\xbb\xbf" + good, 2),
        one("UTF-16", good.decode().encode("utf-16"), 2),
        one("nested JSON", b"[" * 100_000),
        one("truncated", good[:-40]),
        one("a list", b"[1, 2]"),
        one("old format", json.dumps(old).encode(), 2),
        one("future format", notebook(IMPORTS, RIGHT, nbformat=7), 2),
        one("no cells", b'{"nbformat": 4, "metadata": {}}'),
        one("cells of no kind", json.dumps({"cells": numbers}).encode(), 2),
        one("cells that are text", b'{"cells": "x", "worksheets": 3}'),
        one("worksheets of numbers", b'{"worksheets": [1, {"cells": 2}, {"cells": [3]}]}'),
        one("same ids", json.dumps({"cells": same_ids, "nbformat": 4}).encode(), 2),
        one("wrong kernel", notebook(IMPORTS, RIGHT, metadata={"kernelspec": {"name": "R"}}), 2),
        one("reordered", notebook(RIGHT, IMPORTS), 2),
        one("broken cell", notebook("def broken(:", IMPORTS, RIGHT), 2),
        one("null bytes in a cell", notebook("x = '\0'", IMPORTS, RIGHT), 2),
        one("lone surrogate", notebook("x = '\ud800'", IMPORTS, RIGHT), 2),
        one("duplicated stub", notebook(IMPORTS, RIGHT, RIGHT.split("\n")[0] +
            "\n    raise NotImplementedError('your code')"), 2),
        one("wrong name", notebook(IMPORTS, RIGHT.replace("causal_mask", "causal"))),
        one("not a number", notebook(IMPORTS, wrong + "torch.full((n, n), float('nan'))")),
        one("wrong dtype", notebook(IMPORTS, wrong + "torch.ones(n, n).tril()")),
        one("wrong shape", notebook(IMPORTS, wrong + "torch.ones(1, n, n).tril() > 0")),
        one("complex numbers", notebook(IMPORTS, wrong + "torch.ones(n, n, dtype=torch.cfloat)")),
        one("array of objects", notebook("import numpy", wrong + "numpy.array([None] * n)")),
        one("control characters", notebook("def causal_mask(n): raise "
            "ValueError('\\x1b[2J\\u202e<script>alert(1)</script>\\ud800')")),
    ]  # fmt: skip


def honest() -> list[Hostile]:
    """Return right answers that look unusual; each must get its full points."""

    def one(name, *cells):
        return Hostile(name, "honest", notebook(*cells), 2)

    loops = """
        def row(i, n): return [j <= i for j in range(n)]
        def causal_mask(n): return torch.tensor([row(i, n) for i in range(n)], dtype=torch.bool)
    """
    noisy = """
        import sys, warnings
        def causal_mask(n):
            print("mask", n)
            print("careful", file=sys.stderr)
            warnings.warn("a warning")
            return torch.ones(n, n, dtype=torch.bool).tril()
    """
    magics = "shell = get_ipython()\n%matplotlib inline\n!pip list\n%time x = 1\ny = !ls\n" + RIGHT
    in_place = """
        def causal_mask(n):
            mask = torch.zeros(n, n, dtype=torch.bool)
            for i in range(n): mask[i, : i + 1].fill_(True)
            return mask
    """
    called = """
        class Mask:
            def __call__(self, n): return torch.arange(n)[None] <= torch.arange(n)[:, None]
        causal_mask = Mask()
    """
    typed = "def causal_mask(n_tokens: 'int') -> Tensor:\n    i = torch.arange(n_tokens)\n"
    return [
        one("as taught", IMPORTS, RIGHT),
        one("helper and lists", IMPORTS, code(loops)),
        one("prints and warnings", IMPORTS, code(noisy)),
        one("magics", IMPORTS, magics),
        one("timed cell", IMPORTS, "%%time\n" + RIGHT),
        one("shell commands in a cell", IMPORTS, "%%bash\nrm -rf /", RIGHT),
        one("missing type", IMPORTS, typed + "    return i[:, None] >= i"),
        one("in place", IMPORTS, code(in_place)),
        one("object that can be called", IMPORTS, code(called)),
        one("short", "from torch import *", "causal_mask = lambda n: ones(n, n).tril().bool()"),
        one("numpy", "import numpy as np", "def causal_mask(n): return np.tri(n, dtype=bool)"),
        one("decorated", "import functools, torch", "@functools.cache\n@torch.no_grad()\n" + RIGHT),
        one("import that may fail",
            "try:\n    import nothing\nexcept ImportError:\n    import torch", RIGHT),
        one("the lab's imports", "from utils.labs.api import check\nfrom utils.runtime import "
            "generator, start\nfrom utils.zoo.load import load_base\ntier = start(seed=0)",
            IMPORTS, RIGHT, "check('causal_mask')"),
        one("second try", IMPORTS, WRONG, RIGHT),
        one("demonstration that fails", IMPORTS, RIGHT, "assert False\n1 / 0\nx = 1 / 0"),
    ]  # fmt: skip
