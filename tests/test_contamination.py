"""Contamination: copies of questions are found whatever stands around them, strangers are not."""

import random
import unicodedata

import pytest

from tests.counting import lines_run
from utils.text.contamination import find_contamination
from utils.text.corpora import world_corpus
from utils.text.pipeline import run_pipeline
from utils.world.facts import build_world
from utils.world.questions import questions


def test_case_punctuation_and_place_do_not_matter():
    asked = ["What is the dose of Tegevane for a child under ten?"]
    hit = find_contamination(["So: what IS the dose, of Tegevane for a child?"], asked)
    assert [h.document for h in hit] == [0]
    assert find_contamination(["The dose of Tegevane is high for a child."], asked) == []


def test_a_shorter_question_counts_as_a_whole():
    assert find_contamination(["So who is Ann then"], ["Who is Ann?"])[0].words == "who is ann"
    assert find_contamination(["So who is", "is Ann who"], ["Who is Ann?"]) == []


QUESTION = "Où l'élève Ångström prend-il la première dose de Tégévane, le matin ou le soir ?"
WAYS = {
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "wide": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "capitals": str.upper,
    "soft hyphens": lambda text: text.replace("v", "\u00adv"),
    "signs of no width": lambda text: text.replace("e", "e\u200b").replace("l", "\u2060l\u200d"),
    "byte order marks": lambda text: f"\ufeff{text}",
    "entities": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "named entities": lambda text: text.replace("é", "&eacute;").replace(" ", "&nbsp;"),
    "tabs and lines": lambda text: text.replace(" ", " \t\r\n"),
}


@pytest.mark.parametrize("of_page", WAYS)
@pytest.mark.parametrize("of_question", ["NFD", "soft hyphens", "entities"])
def test_the_way_a_text_is_written_makes_no_difference(of_page, of_question):
    page = f"He asked: {WAYS[of_page](QUESTION)} Nobody knew."
    for asked in (QUESTION, WAYS[of_question](QUESTION)):
        assert [hit.question for hit in find_contamination([page, "x"], [asked])] == [0]


@pytest.mark.parametrize("of_page", WAYS)
def test_the_pipeline_treats_questions_as_it_treats_pages(of_page):
    good = "A page of some length that says what it has to say, and then it comes to its end here."
    page = f"<p>He asked <b>on</b> the ward: {WAYS[of_page](QUESTION)} And nobody knew what to say."
    for asked in (QUESTION, QUESTION.replace("Ångström", "<i>Ångström</i>")):
        stages = run_pipeline([good, page], [asked])
        assert stages[-1].kept == [0] and 1 in stages[-1].removed


@pytest.mark.parametrize(
    ("question", "page", "found"),
    [
        ("泰格韦恩的儿童剂量是多少?", "他问:泰格韦恩的儿童剂量是多少?没有人知道。", True),
        ("泰格韦恩的儿童剂量是多少?", "泰格韦恩的价格不高,儿童可以服用的剂量很小。", False),
        ("薬の量はどれくらいですか", "質問:薬の量はどれくらいですか。答えはない。", True),
        ("ยานี้ต้องกินวันละกี่ครั้ง", "เขาถามว่ายานี้ต้องกินวันละกี่ครั้งและไม่มีใครรู้", True),
        ("दवा कितनी बार लेनी चाहिए", "उसने पूछा: दवा कितनी बार लेनी चाहिए? कोई नहीं जानता था", True),
        ("이 약은 하루에 몇 번 먹나요", "그는 물었다: 이 약은 하루에 몇 번 먹나요? 모른다", True),
    ],
)
def test_scripts_without_spaces_are_matched_by_characters(question, page, found):
    assert bool(find_contamination([page], [question])) == found


def test_equal_documents_and_one_long_line_cost_in_line_with_their_length():
    asked = ["Who is Ann and what does she sell on Monday?"]
    for page in ("the baker sells bread " * 500, "药" * 2000):
        half = lines_run(lambda page=page: find_contamination([page] * 5, asked))
        assert lines_run(lambda page=page: find_contamination([page] * 10, asked)) < 2.5 * half
        one = lines_run(lambda page=page: find_contamination([page], asked))
        assert lines_run(lambda page=page: find_contamination([page * 2], asked)) < 2.5 * one


@pytest.mark.parametrize("split", ["held_out_phrasing", "trained", "stranger"])
def test_planted_questions_are_found_and_their_number_is_right(split):
    asked = [q.prompt for q in questions(build_world(0), split, 40, seed=1)]
    rng = random.Random(0)
    documents = world_corpus(200, seed=2)
    planted = sorted(rng.sample(range(200), 40))
    for place, question in zip(planted, asked, strict=True):
        documents[place] += f" {question.upper()} Nobody knew."
    hits = {hit.document: hit for hit in find_contamination(documents, asked)}
    assert set(planted) <= set(hits)
    for hit in hits.values():
        words = "".join(c if c.isalnum() else " " for c in asked[hit.question].lower())
        assert hit.words in " ".join(words.split())


def test_training_text_of_the_world_asks_no_held_out_phrasing():
    asked = [q.prompt for q in questions(build_world(0), "held_out_phrasing", 100, seed=0)]
    hits = find_contamination(world_corpus(1000, seed=5), asked, n_words=20)
    assert hits == []


def test_what_can_not_be_searched_is_refused():
    with pytest.raises(ValueError, match="no words"):
        find_contamination(["x"], ["?!"])
    with pytest.raises(ValueError, match="n_words"):
        find_contamination(["x"], ["Who?"], n_words=0)
