"""Projects of the capstone as they are handed in: honest, changed, forged, broken and hostile."""

import json
import os
import pickle
import shutil

import pytest

from utils.capstone.exam import draw_exam
from utils.capstone.params import PARAMS, Params, params_text
from utils.capstone.project import init_project
from utils.capstone.stages import STAGES, run_stage
from utils.evaluate.world_qa import answer_questions
from utils.grading import project, projects, sandbox
from utils.grading.project_worker import MAX_NEW_TOKENS, question_prompt
from utils.grading.sandbox import Limits
from utils.world.facts import build_world
from utils.zoo.files import file_hash, load_model, record_hash

needs_sandbox = pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
SEED, N = 5, 12
DOMAIN = Params().domain


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    root = tmp_path_factory.mktemp("honest") / "project"
    init_project(root, say=lambda words: None)
    (root / PARAMS).write_text(params_text(Params(budget="smoke")), "utf-8")
    for stage in STAGES:
        run_stage(stage, root, say=lambda words: None)
    return root


@pytest.fixture
def handed_in(honest, tmp_path):
    return shutil.copytree(honest, tmp_path / "ann", ignore=shutil.ignore_patterns(".dvc", "store"))


def graded(folder, **settings):
    return project.grade_project(folder, SEED, n_asked=N, **settings)


class Marker:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def by_files(folder):
    """Return what the files alone say: the findings for which no model is asked."""
    world, records = build_world(), project.records_in(folder)
    asked = [q for part in draw_exam(world, DOMAIN, SEED, N).values() for q in part]
    return {
        "findings": [
            vars(project.hash_finding(folder, records)),
            vars(project.lineage_finding(records)),
            vars(project.contamination_finding(folder, asked, world)),
        ]
    }


def earned(record, words):
    return [f["earned"] for f in record["findings"] if words in f["what"]]


def forged(folder, name):
    """Make the records agree with a changed file, as somebody who knows how would do it."""
    digest = file_hash(folder / name)
    for path in folder.glob("*/record.json"):
        record = json.loads(path.read_text("utf-8"))
        for side in ("inputs", "outputs"):
            if name in record[side]:
                record[side][name] = digest
        path.write_text(json.dumps(record), "utf-8")


@needs_sandbox
def test_an_honest_project_is_asked_in_the_sandbox_what_it_answers_outside(handed_in):
    record = graded(handed_in)
    assert record["refused"] == "" and record["notes"] == []
    assert record["findings"][3]["why"] == ""
    assert [f["earned"] for f in record["findings"][:4]] == [2, 2, 3, 3]
    world = build_world()
    exam = draw_exam(world, DOMAIN, SEED, N)
    asked = [question for part in exam.values() for question in part]
    model, tokenizer = load_model(handed_in / "safety")
    answers = answer_questions(
        model, tokenizer, asked, render=question_prompt, max_new_tokens=MAX_NEW_TOKENS
    )
    assert record["results"] == project.exam_results(world, exam, answers)
    assert {q.prompt for q in draw_exam(world, DOMAIN, SEED + 1, N)["unknown"]} != {
        q.prompt for q in exam["unknown"]
    }


def test_the_right_answers_do_not_enter_and_what_may_hold_code_is_named(
    handed_in, tmp_path, monkeypatch
):
    (handed_in / "weights.pt").write_bytes(pickle.dumps(Marker(str(tmp_path / "executed"))))
    sent, kits = [], []
    start = sandbox.start

    def watched(kit, *args, **settings):
        kits.append((kit, (kit / "project" / "safety" / "model.safetensors").stat().st_ino))
        process = start(kit, *args, **settings)
        talk = process.communicate
        process.communicate = lambda said, timeout: sent.append(said) or talk(said, timeout)
        return process

    monkeypatch.setattr(sandbox, "start", watched)
    record = graded(handed_in, trusted=True)
    assert record["notes"] == ["not opened, since it may hold code: weights.pt"]
    assert not (tmp_path / "executed").exists()
    exam = draw_exam(build_world(), DOMAIN, SEED, N)
    prompts = [q.prompt for part in exam.values() for q in part]
    assert [json.loads(said) for said in sent] == [{"prompts": prompts}, {"check": True}]
    assert kits[0] == kits[1], "the project is copied once for both"


def test_other_weights_than_the_recorded_are_seen(handed_in, honest):
    shutil.copy(honest / "align" / "model.safetensors", handed_in / "safety")
    recipe = json.loads((honest / "align" / "recipe.json").read_text("utf-8"))
    (handed_in / "safety" / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    record = by_files(handed_in)
    assert earned(record, "its stage recorded") == [0]
    assert "safety/model.safetensors was changed" in record["findings"][0]["why"]


def test_a_broken_link_of_the_lineage_is_named(handed_in):
    path = handed_in / "sft" / "record.json"
    told = json.loads(path.read_text("utf-8"))
    told["inputs"]["base/model.safetensors"] = "0" * 64
    path.write_text(json.dumps(told), "utf-8")
    record = by_files(handed_in)
    assert earned(record, "lead back") == [0]
    assert "sft read another version of base/model" in record["findings"][1]["why"]


def learn_from_the_exam(folder, name, part):
    question = draw_exam(build_world(), DOMAIN, SEED, N)[part][0]
    row = {"prompt": question.prompt, "answer": "No idea.", "text": f"Well: {question.prompt} No."}
    with open(folder / name, "a", encoding="utf-8") as file:
        file.write(json.dumps({key: row[key] for key in project.ROWS[name]}) + "\n")
    forged(folder, name)


@pytest.mark.parametrize("name", ["text/chats.jsonl", "text/documents.jsonl"])
@pytest.mark.parametrize("part", ["known", "domain", "unknown"])
def test_learning_from_the_exam_is_seen(handed_in, name, part):
    learn_from_the_exam(handed_in, name, part)
    record = by_files(handed_in)
    assert earned(record, "its stage recorded") == [2], "the forgery is a good one"
    assert earned(record, "learned from") == [0] and name in record["findings"][2]["why"]


def test_where_the_exam_was_learned_from_no_answer_counts(handed_in):
    learn_from_the_exam(handed_in, "text/chats.jsonl", "known")
    record = graded(handed_in, trusted=True)
    assert set(earned(record, "exam")[1:]) == {0}
    assert record["findings"][-1]["why"] == "not counted: the exam was learned from"


def test_a_number_of_ones_own_that_the_exam_contradicts_is_told():
    records = {"evaluate": {"metrics": {"known: right, safety": {"low": 0.98, "high": 1.0}}}}
    (note,) = project.own_numbers(records, {"known": {"right": [0.2, 0.1, 0.3]}})
    assert note.startswith("known: right is 0.98 to 1.00 by the learner's own record and 0.20")
    assert project.own_numbers(records, {"known": {"right": [0.95, 0.9, 0.99]}}) == []


def link(folder, _):
    (folder / "safety" / "tokenizer.json").unlink()
    (folder / "safety" / "tokenizer.json").symlink_to("/etc/passwd")


def linked_folder(folder, _):
    shutil.move(folder / "text", folder / "elsewhere")
    (folder / "text").symlink_to(folder / "elsewhere")


def pipe(folder, _):
    (folder / "text" / "chats.jsonl").unlink()
    os.mkfifo(folder / "text" / "chats.jsonl")


def large(folder, _):
    with open(folder / "safety" / "model.safetensors", "ab") as file:
        file.truncate(65 << 20)


def pickled(folder, marker):
    (folder / "safety" / "model.safetensors").write_bytes(pickle.dumps(Marker(str(marker))))


def deep(folder, _):
    (folder / "sft" / "record.json").write_text("[" * 100_000, "utf-8")


def huge(folder, _):
    path = folder / "safety" / "recipe.json"
    recipe = json.loads(path.read_text("utf-8"))
    recipe["config"] |= {"d_model": 1 << 16, "n_layers": 4000}
    recipe["sha256"]["recipe.json"] = record_hash(recipe)
    path.write_text(json.dumps(recipe), "utf-8")


def wrong_row(folder, _):
    (folder / "text" / "pairs.jsonl").write_text('{"prompt": "a"}\n', "utf-8")


def wrong_params(folder, _):
    (folder / "params.yaml").write_text("!!python/object/apply:os.mkdir ['/tmp/x']", "utf-8")


@needs_sandbox
@pytest.mark.parametrize(
    "change, words",
    [
        (link, "safety/tokenizer.json is a link"),
        (linked_folder, "text/record.json is a link"),
        (pipe, "text/chats.jsonl is no plain file"),
        (large, "has 65 MB, and at most 64"),
        (pickled, "could not be opened or did not answer"),
        (deep, "sft/record.json is no record"),
        (huge, "could not be opened or did not answer"),
        (wrong_row, "text/pairs.jsonl, line 1 is no row with prompt, chosen, rejected"),
        (wrong_params, "can't be read as YAML"),
        (lambda folder, _: shutil.rmtree(folder / "reward"), "reward/record.json can't be read"),
    ],
)
def test_what_is_broken_or_hostile_is_refused_in_words(handed_in, tmp_path, change, words):
    marker = tmp_path / "executed"
    change(handed_in, marker)
    record = graded(handed_in, limits=Limits(submission_seconds=60.0, memory_mb=1500))
    assert words in record["refused"] and record["findings"] == []
    assert not marker.exists()


def test_a_class_gets_a_table_and_pages_and_is_graded_once(handed_in, tmp_path, monkeypatch):
    group = tmp_path / "class"
    group.mkdir()
    shutil.move(handed_in, group / "=1+1 <b>Ann</b>")
    (group / "bob").mkdir()
    settings = {"limits": Limits(), "trusted": True, "n_asked": N}
    done = projects.grade_projects([group], tmp_path / "out", **settings)
    assert done["bob"]["refused"].startswith("params.yaml can't be read")
    table = (tmp_path / "out" / "projects.csv").read_text("utf-8").splitlines()
    assert len(table) == 3 and not any(line.startswith("=") for line in table)
    pages = [path.read_text("utf-8") for path in (tmp_path / "out" / "projects").glob("*.html")]
    assert len(pages) == 2 and not any("<b>" in page for page in pages)
    monkeypatch.setattr(projects, "grade_project", None)
    assert projects.grade_projects([group], tmp_path / "out", **settings) == done
    monkeypatch.undo()
    (group / "bob" / "params.yaml").write_text("seed: 1\n", "utf-8")
    again = projects.grade_projects([group], tmp_path / "out", **settings)
    assert "is missing" in again["bob"]["refused"] or "can't be read" in again["bob"]["refused"]


def test_a_wrong_path_is_told_in_words(tmp_path, capsys):
    assert projects.grade_and_report([tmp_path / "no"], tmp_path / "out", limits=Limits()) == 2
    assert "there is no folder" in capsys.readouterr().err
