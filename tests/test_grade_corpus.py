"""The grader against submissions that are hostile, broken, or right in unusual ways."""

import socket
from collections import Counter

import psutil
import pytest

from tests.hostile import corpus, oddities, shared
from utils.grading import classroom, sandbox

LAB = "02_attention"
FAMILIES = ("inflation", "escape", "exhaustion", "malformed", "honest", "odd")
QUICK = sandbox.Limits(
    call_seconds=1.0,
    grace_seconds=1.0,
    load_seconds=3.0,
    submission_seconds=40.0,
    memory_mb=1200,
    scratch_mb=32,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal())),
]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade the whole corpus in one class; return what the host saw as well."""
    host = tmp_path_factory.mktemp("host")
    (host / "canary.txt").write_text("secret")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    everyone = [*corpus.inflation(), *corpus.malformed(), *corpus.honest(), *oddities.everyone()]
    everyone += corpus.escape(str(host), listener.getsockname()[1])
    alone = [one for one in everyone if one.family == "escape" and one.may_lose]
    together = [one for one in everyone if one not in alone]
    records = shared.grade_together(LAB, together, QUICK, ("causal_mask",))
    alone += corpus.exhaustion()
    folder = tmp_path_factory.mktemp("submissions")
    for one in alone:
        (folder / f"{one.family} - {one.name}.ipynb").write_bytes(one.content)
    out = tmp_path_factory.mktemp("out")
    options = {"limits": QUICK, "n_jobs": 3, "only": ["causal_mask"]}  # some only wait
    for record in classroom.grade_class(LAB, [folder], out, **options):
        records[record["learner"]] = record
    return together + alone, records, host, listener


@pytest.mark.parametrize("family", FAMILIES)
def test_every_submission_gets_what_it_earns(graded, family):
    everyone, records, *_ = graded
    wrong = shared.wrong_ones([one for one in everyone if one.family == family], records)
    assert not wrong, wrong


def test_the_corpus_is_large_and_every_family_is_there(graded):
    counts = Counter(one.family for one in graded[0])
    assert set(counts) == set(FAMILIES) and counts.total() >= 60
    assert min(counts.values()) >= 10


def test_nothing_on_the_host_changed_and_nothing_outlives_the_run(graded):
    *_, host, listener = graded
    with pytest.raises(TimeoutError):
        listener.accept()
    assert (host / "canary.txt").read_text() == "secret"
    assert [path.name for path in host.iterdir()] == ["canary.txt"]
    ours = psutil.Process().children(recursive=True)
    assert not [p for p in ours if "bwrap" in " ".join(p.cmdline())]


def test_hints_of_hostile_learners_are_plain_text(graded):
    for record in graded[1].values():
        for check in record["checks"]:
            assert check["hint"].isprintable() or "\n" in check["hint"]
            check["hint"].encode("utf-8")
