"""Retrieval, fact check, scorers and safety data: against libraries, by hand, with bad input."""

import json
import logging
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import bm25s
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from utils.align.fact_check import answer_with_facts, check_facts, mentions
from utils.align.retrieval import passage_index, retrieve
from utils.align.safety_data import build_safety_pairs, filter_toxic
from utils.align.scorer_service import PATH, ScorerUnavailable, ServiceScorer
from utils.align.scorers import (
    DetoxifyScorer,
    ScorerMissing,
    WordScorer,
    toxicity_score,
    train_word_scorer,
)
from utils.text.words import words_of

WORDS = st.lists(st.sampled_from("ward dose Brunal opens lives 15 mg the a".split()), max_size=9)
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)


@given(passages=TEXTS, query=WORDS, k=st.integers(1, 9), b=st.sampled_from([0.0, 0.4, 0.75, 1.0]))
@settings(max_examples=80, deadline=None)
def test_ranking_is_that_of_the_library(passages, query, k, b):
    if not any(passages):
        with pytest.raises(ValueError, match="no word"):
            passage_index(passages)
        return
    query = " ".join(query)
    by_hand = retrieve(query, passages, k, b=b)
    by_library = passage_index(passages, b=b)(query, k)
    assert len(by_hand) == len(by_library) <= k
    assert all(score > 0 for _, score in by_hand)
    for (_, one), (_, other) in zip(by_hand, by_library, strict=True):
        assert math.isclose(one, other, rel_tol=1e-6)
    scores = bm25s.BM25(k1=1.5, b=b, method="lucene", dtype="float64")
    scores.index([words_of(passage) for passage in passages], show_progress=False)
    known = [w for w in words_of(query) if w in scores.vocab_dict]
    expected = scores.get_scores(known) if known else None
    for index, score in by_hand:
        assert math.isclose(score, expected[index], rel_tol=1e-6)


def test_ties_stand_in_the_order_of_the_passages_and_strangers_are_left_out():
    passages = ["a ward", "a dose", "a ward", "nothing here"]
    assert [index for index, _ in retrieve("ward", passages, 4)] == [0, 2]
    assert [index for index, _ in passage_index(passages)("ward", 4)] == [0, 2]
    assert retrieve("unheard", passages, 2) == [] == passage_index(passages)("unheard", 2)
    assert retrieve("ward", [], 2) == [] == retrieve("", passages, 2)


@pytest.mark.parametrize("arguments", [{"k": 0}, {"k": 1, "k1": -1}, {"k": 1, "b": 1.5}])
def test_settings_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        retrieve("a", ["a"], **arguments)


@pytest.mark.parametrize(
    "text, phrases, found",
    [
        ("15 mg", ["5 mg"], []),
        ("2.5 mg", ["5 mg", "2"], []),
        ("5 mg.", ["5 mg"], ["5 mg"]),
        ("in TOLBEN, Tolben", ["Tolben"], ["Tolben"]),
        ("eye drops and drops", ["drops", "eye drops"], ["eye drops", "drops"]),
        ("Tolbens", ["Tolben"], []),
        ("at 8 o'clock", ["8 o'clock", "8"], ["8 o'clock"]),
        ("a (b)", ["(b)"], ["(b)"]),
        ("", ["a"], []),
        ("a", [], []),
        ("a", [""], []),
    ],
)
def test_phrases_are_found_whole_and_the_longest_first(text, phrases, found):
    assert mentions(text, phrases) == found


def test_a_value_needs_a_passage_that_names_the_entity_and_holds_it():
    values, passages = ["Tolben", "Quill"], ["Brunal lives in Tolben.", "Ann lives in Quill."]
    assert check_facts("Quill, or Tolben", passages, values, "Brunal") == [
        ("Quill", False),
        ("Tolben", True),
    ]
    assert check_facts("I do not know.", passages, values, "Brunal") == []
    assert check_facts("Tolben", [], values, "Brunal") == [("Tolben", False)]
    assert check_facts("Tolben", ["Brunals in Tolben"], values, "Brunal") == [("Tolben", False)]
    for call in (check_facts, lambda *a: answer_with_facts([], *a[1:], "no")):
        with pytest.raises(ValueError, match="entity is empty"):
            call("a", ["b"], values, " ")


def test_the_first_draft_that_is_borne_out_is_given_as_it_is():
    about = ["Brunal lives in Tolben.", "Brunal is a baker."], ["Tolben", "Quill", "baker"]
    give = lambda *drafts: answer_with_facts(drafts, *about, "Brunal", "No idea.")  # noqa: E731
    assert give(" In Tolben!", "Tolben") == " In Tolben!"
    assert give("Quill", "a baker in Tolben") == "a baker in Tolben"
    assert give("Tolben or Quill") == "No idea." == give()
    assert give("I can not say.", "Tolben") == "I can not say."


def message(role, content="x"):
    return {"role": role, "content": content}


def test_chats_are_dropped_for_what_the_assistant_says_alone():
    chat = [message("user"), message("assistant")]
    kept, dropped = filter_toxic([chat, chat, chat, chat[:1]], [[1, 0], [0, 0.5], [0, 0.49], [1.0]])
    assert dropped == [1] and len(kept) == 3 and all(one is chat for one in kept[:2])
    assert filter_toxic([], []) == ([], [])


@pytest.mark.parametrize(
    "scores, threshold, words",
    [
        ([[0.1]], 0.5, "2 messages and 1 scores"),
        ([], 0.5, "0 chats for 1"),
        ([[0.1, math.nan]], 0.5, "outside 0 to 1"),
        ([[0.1, 1.1]], 0.5, "outside 0 to 1"),
        ([[0.1, 0.2]], 2, "threshold"),
        ([[0.1, 0.2]], math.nan, "threshold"),
    ],
)
def test_scores_that_are_none_are_refused(scores, threshold, words):
    with pytest.raises(ValueError, match=words):
        filter_toxic([[message("user"), message("assistant")]], scores, threshold)


def row(**changes):
    usual = {
        "prompt": "p",
        "truth": "t",
        "refusal": "r",
        "drawn": [],
        "refused": [],
        "toxicity": [],
    }
    return usual | changes


def test_safety_pairs_are_honest_polite_and_not_over_cautious():
    drawn = {"drawn": ["x", "no", "x", "r"], "refused": [0, 1, 0, 0], "toxicity": [0.5, 0, 0.9, 0]}
    found = build_safety_pairs([row(truth="", **drawn), row(**drawn), row(**drawn)])
    assert [(p["chosen"], p["rejected"], p["why"]) for p in found] == [
        ("r", "x", "made up"),
        ("t", "r", "over-refusal"),
        ("t", "x", "toxic"),
    ]
    assert build_safety_pairs([row(refusal="t")]) == [] == build_safety_pairs([])
    with pytest.raises(ValueError, match="row 0 has 1 drawn"):
        build_safety_pairs([row(drawn=["x"])])


def test_scores_are_probabilities_whatever_the_text_and_the_weights():
    weights = {"fool": 1e4, "dear": -1e4}
    texts = ["fool", "dear", "", "Fool, fool!", "fool dear"]
    found = [s["toxicity"] for s in toxicity_score(texts, weights, 0.0)]
    assert found == [1.0, 0.0, 0.5, 1.0, 0.5]
    assert toxicity_score([], weights, 0.0) == []


def test_learned_weights_are_those_of_another_library():
    texts = ["a b", "b c", "c d d", "a d", "e a", "c e b"]
    labels = [True, False, True, False, True, False]
    penalty = 0.05
    scorer = train_word_scorer(texts, labels, penalty)
    vocabulary = sorted(scorer.weights)
    held = [[float(w in text.split()) for w in vocabulary] for text in texts]
    peer = LogisticRegression(C=1 / (2 * penalty * len(texts)), tol=1e-8, max_iter=1000)
    peer.fit(held, labels)
    for word, weight in zip(vocabulary, peer.coef_[0], strict=True):
        assert abs(scorer.weights[word] - weight) < 1e-3
    assert abs(scorer.bias - peer.intercept_[0]) < 1e-3
    with pytest.raises(ValueError, match="both kinds"):
        train_word_scorer(["a", "b"], [1, 1])
    with pytest.raises(ValueError, match="1 labels for 2 texts"):
        train_word_scorer(["a", "b"], [1])


def test_detoxify_is_asked_in_its_own_form_or_named():
    scorer = DetoxifyScorer(lambda texts: {"toxicity": [0.25] * len(texts), "insult": [1, 0]})
    assert scorer.score(["a", "b"])[1] == {"toxicity": 0.25, "insult": 0.0}
    assert scorer.score([]) == []
    with pytest.raises(ScorerMissing, match="pip install detoxify"):
        DetoxifyScorer()


class Service(BaseHTTPRequestHandler):
    """A service of Perspective's shape; `plan` says what it answers, one entry a request."""

    plan: list = []
    seen: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, dict(self.headers), body))
        status = self.plan.pop(0) if self.plan else 200
        if status == "slow":
            threading.Event().wait(1)
            return
        value = 0.9 if "fool" in body["comment"]["text"] else 0.1
        scores = {n: {"summaryScore": {"value": value}} for n in body["requestedAttributes"]}
        reply = {"odd": {}} if status == "odd" else {"attributeScores": scores}
        self.send_response(status if isinstance(status, int) else 200)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(b"<html>" if status == "html" else json.dumps(reply).encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def service():
    Service.plan, Service.seen = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(url, **changes):
    return ServiceScorer(url, **({"per_second": 1e6, "key": "k3y", "retries": 2} | changes))


def test_a_service_is_asked_with_its_key_in_a_header_and_told_not_to_store(service):
    scorer = asked(service, attributes=("TOXICITY", "INSULT"))
    found = scorer.score(["you fool", "good day"])
    assert found == [{"toxicity": 0.9, "insult": 0.9}, {"toxicity": 0.1, "insult": 0.1}]
    path, headers, body = Service.seen[0]
    assert path == PATH and headers["X-Goog-Api-Key"] == "k3y" and body["doNotStore"] is True


def test_a_busy_service_is_asked_again(service):
    Service.plan = [429, 429]
    assert asked(service).score(["a"]) == [{"toxicity": 0.1}]
    assert len(Service.seen) == 3


@pytest.mark.parametrize(
    "plan, words",
    [
        ([200, 403], "refused with status 403"),
        ([200, 429, 429, 429], "refused with status 429"),
        ([200, "odd"], "another form"),
        ([200, "html"], "another form"),
        ([200, "slow", "slow", "slow"], "longer than 0.2 s"),
    ],
)
def test_what_was_scored_before_a_failure_is_kept_and_nothing_is_told(service, plan, words, caplog):
    caplog.set_level(logging.DEBUG)
    Service.plan = plan
    with pytest.raises(ScorerUnavailable, match=words) as raised:
        asked(service, timeout=0.2).score(["first text", "second text"])
    assert raised.value.scores == [{"toxicity": 0.1}]
    assert raised.value.__cause__ is None and raised.value.__context__ is None
    for secret in ("second text", "k3y"):
        assert secret not in str(raised.value) and secret not in caplog.text


def test_a_service_that_is_down_is_named(service):
    with pytest.raises(ScorerUnavailable, match="can't be reached"):
        asked("http://127.0.0.1:9", retries=0).score(["a"])


def test_requests_keep_to_the_rate(service):
    now, waits = [0.0], []

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    asked(service, per_second=2, clock=lambda: now[0], sleep=sleep).score(["a", "b", "c"])
    assert waits == [0.5, 0.5]


def test_the_key_is_read_from_the_environment(service, monkeypatch):
    monkeypatch.setenv("COURSE_SCORER_KEY", "other")
    assert asked(service, key=None).session.headers["X-Goog-Api-Key"] == "other"
    monkeypatch.delenv("COURSE_SCORER_KEY")
    assert "X-Goog-Api-Key" not in asked(service, key=None).session.headers


@pytest.mark.parametrize("changes", [{"attributes": ()}, {"per_second": 0}, {"url": "ftp://a"}])
def test_settings_of_a_service_that_make_no_sense_are_refused(changes):
    with pytest.raises(ValueError, match="must"):
        asked(**({"url": "http://a"} | changes))


def test_scorers_are_asked_and_answer_alike(service):
    for scorer in (
        WordScorer({"fool": 4.0}, -2.0),
        DetoxifyScorer(lambda texts: {"toxicity": [0.9 if "fool" in t else 0.1 for t in texts]}),
        asked(service),
    ):
        high, low = scorer.score(["you fool", "good day"])
        assert high["toxicity"] > 0.5 > low["toxicity"]
