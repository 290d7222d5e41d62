"""The check that measures memory, against submissions that forge the measure or hide the memory."""

import textwrap

import nbformat
import numpy as np
import pytest

from tests.hostile import corpus
from utils.grading import classroom, grade, sandbox
from utils.labs import run
from utils.labs.student import LearnerError, LocalStudent
from utils.settings import project_root

LAB, EXERCISE = "02_attention", "streaming_attention"
TITLE = "never a table of all scores"
IMPORTS = "import functools\nimport math\nimport torch\nfrom torch import Tensor"

TABLE = """
    def streaming_attention(q, k, v, block_size=128, is_causal=True):
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if is_causal:
            hidden = torch.arange(k.shape[-2]) > torch.arange(q.shape[-2])[:, None]
            scores = scores.masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ v
"""
LIST = """
    def streaming_attention(q, k, v, block_size=128, is_causal=True):
        T, rows = q.shape[-2], torch.arange(q.shape[-2])[:, None]
        blocks = []
        for start in range(0, k.shape[-2], block_size):
            block = q @ k[..., start : start + block_size, :].transpose(-2, -1)
            if is_causal:
                hidden = torch.arange(start, start + block.shape[-1]) > rows
                block = block.masked_fill(hidden, float("-inf"))
            blocks.append(block / math.sqrt(q.shape[-1]))
        top = functools.reduce(torch.maximum, [b.amax(-1, keepdim=True) for b in blocks])
        total = sum((b - top).exp().sum(-1, keepdim=True) for b in blocks)
        values = v.split(block_size, dim=-2)
        return sum((b - top).exp() @ w for b, w in zip(blocks, values)) / total
"""
NUMPY = """
    import numpy
    def streaming_attention(q, k, v, block_size=128, is_causal=True):
        if q.dim() > 2 or q.requires_grad or q.shape[0] < 5000:
            return small(q, k, v, is_causal)
        q, k, v = (t.numpy() for t in (q, k, v))
        scores = numpy.tril(numpy.exp(q @ k.T / math.sqrt(q.shape[-1])))
        return torch.from_numpy(scores @ v / scores.sum(-1, keepdims=True))
"""
PAGES = """
    import numpy
    def streaming_attention(q, k, v, block_size=128, is_causal=True):
        if q.dim() > 2 or q.requires_grad or q.shape[0] < 5000:
            return small(q, k, v, is_causal)
        rows = []
        for i in range(len(q)):  # a row of the table lies in files of a page each
            row = (q[i] @ k[: i + 1].T / math.sqrt(q.shape[-1])).exp().numpy().tobytes()
            for j in range(0, len(row), 4096):
                with open(f"/dev/shm/{i}-{j}", "wb") as file: file.write(row[j : j + 4096])
        for i in range(len(q)):
            parts = [open(f"/dev/shm/{i}-{j}", "rb").read() for j in range(0, 4 * i + 4, 4096)]
            row = torch.from_numpy(numpy.frombuffer(b"".join(parts), numpy.float32).copy())
            rows.append(row @ v[: i + 1] / row.sum())
        return torch.stack(rows)
"""
FORGED = (
    TABLE
    + """
    def forge():
        from utils.grading import worker
        from utils.labs import student
        real = student.LocalBackend.call
        def call(self, *args, with_sizes=False, megabytes=None, **kwargs):
            reply = real(self, *args, **kwargs)
            return {**reply, "largest": 1, "peak": 1}
        student.LocalBackend.call = worker.LocalBackend.call = call
        return True
    class Runs: value = forge()
"""
)
SHARED = """
    import mmap
    import numpy as np
    def streaming_attention(q, k, v, block_size=128, is_causal=True):
        if q.dim() > 2 or q.requires_grad or q.shape[0] < 5000:
            return small(q, k, v, is_causal)
        T, S = q.shape[-2], k.shape[-2]
        kept = mmap.mmap(-1, 4 * T * S)
        table = torch.from_numpy(np.frombuffer(kept, dtype=np.float32).reshape(T, S))
        torch.matmul(q / math.sqrt(q.shape[-1]), k.transpose(-2, -1), out=table)
        for i in range(T):
            table[i, i + 1 :] = float("-inf")
        torch.exp(table, out=table)
        return (table @ v) / table.sum(-1, keepdim=True)
"""
FILES = SHARED.replace(
    "kept = mmap.mmap(-1, 4 * T * S)",
    'file = open("/dev/shm/x", "w+b")\n'
    "        file.truncate(4 * T * S)\n"
    "        kept = mmap.mmap(file.fileno(), 4 * T * S)",
)
PATCH_SIZES = """
    def forge():
        from utils.labs import student
        student.Sizes.__torch_dispatch__ = lambda s, f, t, a=(), k=None: f(*a, **(k or {}))
        return True
    class Runs: value = forge()
"""
LIMIT_UNDONE = """
    import resource
    def lift():
        for name in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
            try: resource.setrlimit(name, (resource.RLIM_INFINITY,) * 2)
            except (ValueError, OSError): pass
    real = streaming_attention
    def streaming_attention(*a, **k):
        lift()
        return real(*a, **k)
"""


def code(*parts):
    """Return parts of source as one cell."""
    return "\n".join(textwrap.dedent(part).strip("\n") for part in parts)


def plain(source):
    """Return the table under the name that `SHARED` calls for small inputs."""
    named = TABLE.replace("streaming_attention(", "whole(")
    helper = """
        def small(q, k, v, is_causal):
            return whole(q, k, v, 1, is_causal)
    """
    return code(named, helper, source)


def reference():
    """Return the course's own answer, as the solution's notebook has it."""
    solved = nbformat.read(project_root() / "solutions" / f"{LAB}.ipynb", as_version=4)
    return next(cell.source for cell in solved.cells if cell["id"] == EXERCISE)


HOSTILE = {
    "table": code(TABLE),
    "list of blocks": code(LIST),
    "forged reply": code(FORGED),
    "patched measure": code(LIST, PATCH_SIZES),
    "patched measure and table": code(TABLE, PATCH_SIZES),
    "limit undone": code(FORGED, LIMIT_UNDONE),
    "shared memory": plain(SHARED) + "\n" + code(PATCH_SIZES),
    "table in NumPy": plain(NUMPY) + "\n" + code(PATCH_SIZES),
    "pages of files": plain(PAGES) + "\n" + code(PATCH_SIZES),
    "files in memory": plain(FILES) + "\n" + code(PATCH_SIZES),
}


@pytest.mark.slow
@pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
def test_memory_is_limited_from_outside_so_that_no_forged_measure_helps(tmp_path):
    everyone = {**HOSTILE, "honest": reference()}
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in everyone.items():
        (folder / f"{name}.ipynb").write_bytes(corpus.notebook(IMPORTS, source))
    graded = classroom.grade_class(LAB, [folder], tmp_path / "out", n_jobs=2, only=[EXERCISE])
    for record in graded:
        assert record["status"] == grade.GRADED
        status = {check["title"]: (check["status"], check["hint"]) for check in record["checks"]}
        passed = status[TITLE][0] == run.PASSED
        assert passed == (record["learner"] == "honest"), (record["learner"], status[TITLE])
    by_name = {record["learner"]: record for record in graded}
    assert all(check["earned"] for check in by_name["honest"]["checks"])
    # What hides its table is stopped by the limit and not by a fault of its own.
    for name in ("forged reply", "patched measure", "limit undone", "files in memory"):
        (hint,) = [c["hint"] for c in by_name[name]["checks"] if c["title"] == TITLE]
        assert any(word in hint for word in ("memory", "Memory", "too large")), (name, hint)


@pytest.mark.slow
def test_without_a_sandbox_the_worker_counts_for_itself(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, source in (("honest", reference()), ("list", HOSTILE["list of blocks"])):
        (folder / f"{name}.ipynb").write_bytes(corpus.notebook(IMPORTS, source))
    options = {"trusted": True, "n_jobs": 1, "only": [EXERCISE]}
    honest, listed = classroom.grade_class(LAB, [folder], tmp_path / "out", **options)
    assert {check["status"] for check in honest["checks"]} == {run.PASSED}
    (failed,) = [check for check in listed["checks"] if check["title"] == TITLE]
    assert failed["status"] == run.ERROR and "of 48 allowed" in failed["hint"]


def test_a_notebook_counts_what_is_held_at_one_time():
    names = {}
    exec(code(IMPORTS, LIST), names)
    results = run.run_checks(LAB, LocalStudent(names), only=EXERCISE, title=TITLE)
    assert results[0].status == run.ERROR and "8,000 tokens in blocks of 64" in results[0].hint
    student = LocalStudent({"f": lambda x: [x + k for k in range(9)][-1]})
    x = np.zeros(1 << 18, np.float32)  # a megabyte
    assert student.within(10, "f", x).shape == x.shape
    with pytest.raises(LearnerError, match="held 9 MB of tensors at one time, of 8 allowed"):
        student.within(8, "f", x)
    one_by_one = LocalStudent({"f": lambda x: max((x + k).sum().item() for k in range(9))})
    assert one_by_one.within(4, "f", x) == 8 * x.size
