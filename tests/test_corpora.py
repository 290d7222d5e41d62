"""Corpora: local files in the hub's columns, and clear words where there is nothing to read."""

import gzip
import json

import pytest

from utils.text import corpora
from utils.text.corpora import (
    DATA_SETS,
    HubUnreachable,
    hub_texts,
    local_folder,
    python_reference,
    world_corpus,
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder as COURSE_DATA_DIR names one; call it to write a file of rows."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))

    def write(name, rows):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(text.encode("utf-8")))
        return tmp_path / name

    return write


def test_the_world_corpus_is_a_function_of_its_seeds():
    assert world_corpus(5, seed=1) == world_corpus(5, seed=1) != world_corpus(5, seed=2)
    assert world_corpus(5, seed=1) != world_corpus(5, seed=1, world_seed=1)


def test_the_python_reference_is_real_text():
    topics = python_reference()
    assert len(topics) > 50 and all(isinstance(topic, str) and topic for topic in topics)
    assert sum(len(topic.encode("utf-8")) for topic in topics) > 300_000
    assert topics == python_reference()


def test_a_folder_gives_its_texts_in_the_order_of_names(tmp_path):
    (tmp_path / "b.txt").write_text("zwei é\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("one", encoding="utf-8-sig")
    (tmp_path / "blank.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("left out", encoding="utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.txt").write_text("three", encoding="utf-8")
    assert local_folder(tmp_path) == ["one", "zwei é\n", "three"]
    assert local_folder(tmp_path, "*.md") == ["left out"]


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="not there"):
        local_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no file that matches"):
        local_folder(tmp_path)
    (tmp_path / "a.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="each of its 1 files is blank"):
        local_folder(tmp_path)


def test_a_file_that_is_no_utf8_is_named(tmp_path):
    (tmp_path / "good.txt").write_text("good", encoding="utf-8")
    (tmp_path / "old.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8 text \(byte 3\)"):
        local_folder(tmp_path)


def test_a_column_is_read_from_the_data_folder(data):
    data("gsm8k_train.jsonl.gz", [{"question": "1 + 1?", "answer": "2"}, {"question": "é?"}])
    assert hub_texts("openai/gsm8k", "question") == ["1 + 1?", "é?"]


def test_rows_of_another_split_are_left_out(data):
    rows = [{"split": "dev", "question": "a"}, {"split": "test", "question": "b"}]
    data("mmlu_medicine_law.jsonl.gz", rows)
    assert hub_texts("cais/mmlu", "question", split="test") == ["b"]
    with pytest.raises(ValueError, match="no rows in split 'train'"):
        hub_texts("cais/mmlu", "question", split="train")


def test_a_wrong_column_lists_the_columns(data):
    data("medquad.jsonl.gz", [{"Question": "a", "Answer": "b"}])
    with pytest.raises(KeyError, match="no column 'answer'; its columns are Question, Answer"):
        hub_texts("medquad", "answer")


def test_a_column_without_text_is_refused(data):
    rows = [{"question": "a", "context": "b"}, {"question": "a", "context": {"labels": []}}]
    data("pubmedqa_train.jsonl.gz", rows)
    with pytest.raises(ValueError, match="holds dict in row 1, expected text"):
        hub_texts("qiaojin/PubMedQA", "context")


def test_an_empty_data_set_is_refused(data):
    data("medquad.jsonl.gz", [])
    with pytest.raises(ValueError, match="'medquad' has no rows"):
        hub_texts("medquad", "Answer")


@pytest.mark.parametrize("damage", ["truncated", "no gzip", "no JSON"])
def test_a_damaged_file_is_named_with_the_row(data, damage):
    path = data("medquad.jsonl.gz", [{"Answer": "x" * 50, "n": i} for i in range(2000)])
    content = path.read_bytes()
    broken = {
        "truncated": content[: len(content) // 2],
        "no gzip": b"plain text",
        "no JSON": gzip.compress(b'{"Answer": "a"}\n{"Answer": \n'),
    }
    path.write_bytes(broken[damage])
    with pytest.raises(ValueError, match=r"medquad\.jsonl\.gz is damaged after row"):
        hub_texts("medquad", "Answer")


def test_a_folder_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match="COURSE_DATA_DIR"):
        hub_texts("medquad", "Answer")


@pytest.mark.parametrize("name", ["openai/gsm8k", "someone/unknown"])
def test_an_unreachable_hub_names_the_setting(data, monkeypatch, name):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(HubUnreachable, match="COURSE_DATA_DIR to a folder that holds .*jsonl.gz"):
        hub_texts(name, "question")


def test_the_hub_is_asked_for_the_configuration_of_the_table(monkeypatch):
    import datasets
    from huggingface_hub import constants

    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.Dataset.from_list([{"chosen": "a"}, {"chosen": "b"}])

    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert hub_texts("Anthropic/hh-rlhf", "chosen", split="test") == ["a", "b"]
    assert asked == [(("Anthropic/hh-rlhf", None), {"data_dir": "harmless-base", "split": "test"})]


def test_the_table_of_data_sets_names_one_file_each():
    files = [entry.file for entry in DATA_SETS.values()]
    assert len(set(files)) == len(files)
    assert corpora.local_rows("someone/unknown", "train") is None
