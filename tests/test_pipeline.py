"""The pipeline on a crawl whose truth is known: what each stage must remove, and what keep."""

import pytest

from utils.text.corpora import python_reference, world_corpus
from utils.text.pipeline import mix, run_pipeline, stage_rows
from utils.text.raw import make_pages, raw_crawl
from utils.world.facts import build_world
from utils.world.questions import questions


@pytest.fixture(scope="module")
def crawl():
    pages = make_pages(world_corpus(1600, seed=3), 8) + python_reference()[:20]
    asked = questions(build_world(0), "held_out_phrasing", 60, seed=0)
    leaks = [f"{question.prompt} {question.answer}" for question in asked[:20]]
    raw = raw_crawl(pages, leaks, seed=1)
    return pages, raw, run_pipeline([p.text for p in raw], [q.prompt for q in asked])


def removed_by(crawl, name):
    """Return kind -> how many pages of that kind a stage removed."""
    stage = next(stage for stage in crawl[2] if stage.name == name)
    kinds = [crawl[1][i].kind for i in stage.removed]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def test_junk_goes_and_pages_stay(crawl):
    removed = removed_by(crawl, "is text")
    n_junk = sum(page.kind == "junk" for page in crawl[1])
    assert removed["junk"] == n_junk
    assert removed.get("page", 0) + removed.get("copy", 0) < 0.02 * len(crawl[0])


def test_of_each_page_one_copy_stays(crawl):
    _, raw, stages = crawl
    left = [raw[i].page for i in stages[3].kept if raw[i].page is not None]
    assert len(left) == len(set(left))
    assert len(left) > 0.97 * len(crawl[0])


def test_every_leak_is_found(crawl):
    _, raw, stages = crawl
    assert not [i for i in stages[-1].kept if raw[i].kind == "leak"]
    removed = removed_by(crawl, "decontaminated")
    assert removed.get("page", 0) < 0.02 * len(crawl[0])


def test_the_table_adds_up(crawl):
    stages = crawl[2]
    for before, after in zip(stages, stages[1:], strict=False):
        assert len(before.kept) - len(after.kept) == len(after.removed)
        assert set(before.kept) - set(after.kept) == set(after.removed)
    assert [row[0] for row in stage_rows(stages)] == [stage.name for stage in stages]
    assert stages[-1].n_bytes == sum(len(text.encode()) for text in stages[-1].texts)


def test_nothing_left_is_an_error_that_names_the_rule():
    with pytest.raises(ValueError, match="too short"):
        run_pipeline(["menu", "login"])
    with pytest.raises(ValueError, match="empty"):
        run_pipeline([])


def test_mixture_follows_weights_and_counts_epochs():
    texts, epochs = mix(
        {"a": [f"a{i}" for i in range(100)], "b": ["b0", "b1"]}, {"a": 0.9, "b": 0.1}, 1000, seed=0
    )
    n_b = sum(text.startswith("b") for text in texts)
    assert 60 < n_b < 140 and len(texts) == 1000
    assert epochs["b"] == n_b / 2
    assert abs(texts.count("b0") - texts.count("b1")) <= 1
    with pytest.raises(ValueError, match="weights"):
        mix({"a": ["x"]}, {"b": 1.0}, 3)
    with pytest.raises(ValueError, match="no documents"):
        mix({"a": []}, {"a": 1.0}, 3)
