"""The capstone's pipeline: parameters, raw text as people have it, stages, records, DVC, kills."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml

from utils.assistants.chat_models import chat_prompt
from utils.capstone import project as projects
from utils.capstone.__main__ import main as stage_command
from utils.capstone.exam import draw_exam, exam_parts, exam_seed
from utils.capstone.params import PARAMS, Params, WrongParams, params_text, read_params
from utils.capstone.records import BEGUN, CHECKPOINTS, RECORD, energy_wh, read_json, read_rows
from utils.capstone.sources import decode, files_of, pieces, read_raw
from utils.capstone.stages import STAGES, run_stage
from utils.cli import main as course
from utils.commands.chat import open_conversation
from utils.settings import project_root
from utils.world.facts import build_world

SENTENCE = "On day {} the clerk of the town wrote {} lines about rain, bread and boats. "
needs_dvc = pytest.mark.skipif(not projects.has_dvc(), reason="DVC is not installed (extra ops)")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def own_text(n: int, first: int = 0) -> str:
    return "\n\n".join(
        "".join(SENTENCE.format(k * 7 + j, j * k + 3) for j in range(5))
        for k in range(first, first + n)
    )


def write_params(root: Path, **values) -> None:
    params = asdict(Params()) | {"budget": "smoke"} | values
    (root / PARAMS).write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in params.items()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose stages text, base and sft have run."""
    root = tmp_path_factory.mktemp("capstone") / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projects, "has_dvc", lambda: False)
        projects.init_project(root, say=str)
    write_params(root)
    for name in ("text", "base", "sft"):
        run_stage(name, root, say=str)
    return root


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "project"))


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "holds nothing"),
        ("- a\n", "holds list"),
        ("a: [", "can't be read as YAML in line"),
        ("metod: dpo", "'metod' is no parameter (method is closest)"),
        ("domain: clinic", "has no line for method: add 'method: dpo'"),
        ("3: 4", "3 is no parameter"),
    ],
)
def test_a_file_that_is_no_list_of_parameters_is_refused_in_a_sentence(text, told, tmp_path):
    (tmp_path / PARAMS).write_text(text)
    with pytest.raises(WrongParams) as error:
        read_params(tmp_path)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("method", "pop", "'pop' is none of ppo, dpo, grpo (ppo is closest)"),
        ("method", None, "method must be text"),
        ("budget", "big", "'big' is none of small, full"),
        ("budget", True, "budget must be text, got True"),
        ("model", "gpt", "'gpt' is none of base, smollm2"),
        ("domain", " ", "domain must be text"),
        ("domain", False, "YAML takes yes, no and numbers"),
        ("seed", -1, "seed must be a whole number"),
        ("seed", True, "seed must be a whole number"),
        ("seed", 1.5, "seed must be a whole number"),
        ("seed", 2**31, "seed must be a whole number"),
    ],
)
def test_a_wrong_value_is_refused_by_the_command_in_a_sentence(name, value, told, tmp_path, capsys):
    write_params(tmp_path, **{name: value})
    assert stage_command(["text", "--project", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
    assert not (tmp_path / "text").exists()


def test_what_is_written_as_parameters_is_read_as_the_same(tmp_path):
    params = Params(domain='a "b": c', method="grpo", seed=7)
    (tmp_path / PARAMS).write_text(params_text(params), encoding="utf-8")
    assert read_params(tmp_path) == params


def test_no_project_and_no_folder_are_said(tmp_path, capsys):
    assert stage_command(["text", "--project", str(tmp_path / "none")]) == 2
    assert "course capstone init" in capsys.readouterr().err
    for domain, told in (
        ("nowhere", "is not there"),
        (PARAMS, "is a file"),
        (".", "holds this project itself"),
        ("text", "belongs to a stage"),
    ):
        (tmp_path / "text").mkdir(exist_ok=True)
        write_params(tmp_path, domain=domain)
        assert stage_command(["text", "--project", str(tmp_path)]) == 2
        assert told in capsys.readouterr().err


def test_a_project_is_made_in_a_new_folder_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    assert course(["capstone", "init", str(tmp_path / "notes")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]
    assert course(["capstone", "table", str(tmp_path / "notes")]) == 2
    assert "no finished run" in capsys.readouterr().err
    assert course(["capstone", "run", str(tmp_path / "notes"), "--set", "method"]) == 2
    assert "name=value" in capsys.readouterr().err


def test_a_record_says_what_went_in_and_came_out(made):
    for name in ("text", "base", "sft"):
        record = read_json(made / name / RECORD)
        assert record["stage"] == name and record["command"].endswith(f"utils.capstone {name}")
        assert set(record["params"]) == set(STAGES[name].params)
        assert set(record["outputs"]) == set(STAGES[name].makes)
        for path, digest in (record["inputs"] | record["outputs"]).items():
            assert hashlib.sha256((made / path).read_bytes()).hexdigest() == digest, path
        energy, hours = record["energy_wh"], record["cpu_seconds"] / 3600
        assert energy["low"] < energy["value"] < energy["high"] and hours > 0
        assert energy["value"] == pytest.approx(10 * hours, abs=1e-5)
        assert record["versions"].keys() >= {"python", "torch"} and not record["resumed"]
        assert not (made / name / BEGUN).exists() and not (made / name / CHECKPOINTS).exists()
    assert read_json(made / "base" / RECORD)["tokens"] == 3 * 8 * 128
    assert set(read_json(made / "text" / RECORD)["inputs"]) == {
        "clinic/chats.jsonl", "clinic/documents.jsonl", "clinic/pairs.jsonl",
    }  # fmt: skip


def test_energy_grows_with_time_and_has_a_range():
    assert energy_wh(0)["high"] == 0
    assert energy_wh(7200) == {"value": 20.0, "low": 8.0, "high": 40.0}


def test_held_out_text_and_the_exam_are_in_nothing_that_is_learned(made):
    learned = {row["text"] for row in read_rows(made / "text" / "documents.jsonl")}
    held_out = [row["text"] for row in read_rows(made / "text" / "held_out.jsonl")]
    exam = {row["prompt"] for row in read_rows(made / "text" / "exam.jsonl")}
    chats = {row["prompt"] for row in read_rows(made / "text" / "chats.jsonl")}
    assert held_out and not learned & set(held_out)
    assert not exam & chats and not any(question in text for text in learned for question in exam)
    assert {row["part"] for row in read_rows(made / "text" / "exam.jsonl")} == {
        "known", "unknown", "domain",
    }  # fmt: skip


def test_the_exam_is_drawn_by_the_list_that_the_grader_draws_by(made):
    params = Params(budget="smoke")
    seed, n = exam_seed("evaluate", params.seed), params.sizes.n_asked
    drawn = draw_exam(build_world(), params.domain, seed, n)
    assert list(drawn) == list(exam_parts("./clinic/")) == ["known", "unknown", "domain"]
    wanted = [(part, asked.prompt) for part, group in drawn.items() for asked in group]
    rows = read_rows(made / "text" / "exam.jsonl")
    assert [(row["part"], row["prompt"]) for row in rows] == wanted


def test_a_stage_is_talked_to_in_the_terminal(made):
    base, tuned = (open_conversation(str(made / name)) for name in ("base", "sft"))
    said = [{"role": "user", "content": "What is the dose?"}]
    assert tuned.render(said) == chat_prompt(tuned.tokenizer, "What is the dose?")
    assert base.render(said) != tuned.render(said)
    assert "".join(tuned.say("What is the dose?")) == tuned.messages[-1]["content"]


def test_a_domain_is_the_same_however_its_folder_is_spelt(copied):
    before = read_json(copied / "text" / RECORD)["outputs"]
    write_params(copied, domain="./clinic/")
    assert run_stage("text", copied, say=str)["outputs"] == before


def test_contaminated_rows_are_dropped_and_counted(copied):
    question = read_rows(copied / "text" / "exam.jsonl")[0]["prompt"]
    with open(copied / "clinic" / "chats.jsonl", "a") as file:
        file.write(json.dumps({"prompt": question, "answer": "I was told so."}) + "\n")
    with open(copied / "clinic" / "documents.jsonl", "a") as file:
        file.write(json.dumps({"text": f"Somebody asked: {question} Nobody knew."}) + "\n")
    metrics = run_stage("text", copied, say=str)["metrics"]
    assert metrics["chats dropped: ask a question of the exam"] == 1
    assert metrics["documents dropped: hold a question of the exam"] == 1
    assert question not in {row["prompt"] for row in read_rows(copied / "text" / "chats.jsonl")}


@pytest.mark.parametrize("file, same", [("chats", "pairs"), ("pairs", "documents")])
def test_a_changed_row_changes_only_the_files_that_it_is_for(file, same, copied):
    before = read_json(copied / "text" / RECORD)["outputs"]
    path = copied / "clinic" / f"{file}.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[5])
    row[list(row)[-1]] = "Nobody knows."
    path.write_text("\n".join([*lines[:5], json.dumps(row), *lines[6:]]) + "\n")
    after = run_stage("text", copied, say=str)["outputs"]
    assert {name for name in before if before[name] != after[name]} == {f"text/{file}.jsonl"}


@pytest.mark.parametrize(
    "file, line, told",
    [
        ("chats", "{", "line 1001 is no JSON"),
        ("chats", '{"prompt": "a"}', "line 1001: 'answer' must be a text"),
        ("chats", "[1]", "line 1001: 'prompt' must be a text"),
        ("documents", '{"text": 3}', "line 3001: 'text' must be a text"),
        ("documents", '{"text": "\\ud83d"}', "half a character"),
        ("pairs", '{"prompt": "a", "chosen": "b", "rejected": "b "}', "chosen and rejected are eq"),
    ],
)
def test_a_wrong_row_is_named(file, line, told, copied, capsys):
    with open(copied / "clinic" / f"{file}.jsonl", "a") as lines:
        lines.write(line + "\n")
    assert stage_command(["text", "--project", str(copied)]) == 2
    assert told in capsys.readouterr().err
    assert not (copied / "text" / RECORD).exists(), "an unfinished stage has no record"


def test_an_own_folder_goes_through_with_all_that_folders_hold(made, tmp_path):
    folder = tmp_path / "mine"
    (folder / "deep" / ".git").mkdir(parents=True)
    (folder / "good.txt").write_text(own_text(40), encoding="utf-8")
    (folder / "latin.txt").write_bytes(own_text(20, 100).replace("boats", "Böte").encode("cp1252"))
    (folder / "windows.md").write_bytes(own_text(20, 200).encode("utf-16"))
    (folder / "broken.txt").write_bytes(
        own_text(20, 300).replace("boats", "Böte").encode() + b"\xff\xfa"
    )
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text(" \n\n ")
    (folder / "picture.txt").write_bytes(bytes(range(256)) * 40)
    (folder / "deep" / "line.txt").write_text(own_text(40, 400).replace("\n", " "))
    (folder / "deep" / ".git" / "not_read.txt").write_text("hidden " * 2000)
    (folder / "copy.txt").write_text(own_text(40), encoding="utf-8")
    (folder / "unread.pdf").write_bytes(b"%PDF")
    root = tmp_path / "project"
    root.mkdir()
    write_params(root, domain=str(folder))
    record = run_stage("text", root, say=str)
    metrics = record["metrics"]
    assert metrics["files read as cp1252"] == metrics["files read as utf-16"] == 1
    assert metrics["files read as utf-8, some bytes broken"] == 1
    assert metrics["files without text"] == 2 and metrics["files no text (zero bytes)"] == 1
    assert metrics["documents dropped: near-copy"] > 0
    assert metrics["chats of the domain"] == 0 and metrics["pairs of the world"] > 0
    own = [r["text"] for r in read_rows(root / "text/documents.jsonl") if r["source"] == "domain"]
    assert any("Böte" in text for text in own) and max(map(len, own)) <= 1200
    assert not any("hidden" in text for text in own)
    assert all(path.startswith("../mine/") for path in record["inputs"])
    shutil.rmtree(root / "base", ignore_errors=True)
    assert run_stage("base", root, say=str)["metrics"]["bits_per_byte"] > 0


@pytest.mark.parametrize(
    "files, told",
    [
        ({}, "holds no text; put files ending in .txt, .md"),
        ({"a.txt": b"", "b.txt": b"\n"}, "0 bytes of text are left"),
        ({"a.txt": b"x" * 300_000}, "too short"),
        ({"a.txt": b"\x00\x01" * 30_000}, "zero bytes"),
        ({"a.txt": bytes(range(128, 256)) * 300}, "no text is left"),
        ({"a.txt": own_text(10).encode()}, "at least 20,000 are needed"),
    ],
)
def test_a_folder_that_can_not_be_learned_from_is_refused_at_the_first_stage(
    files, told, tmp_path, capsys
):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    write_params(tmp_path, domain="mine")
    assert stage_command(["text", "--project", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said


def test_too_much_text_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(51_000_000)
    with pytest.raises(WrongParams, match="51 MB"):
        files_of(tmp_path)


def test_more_than_the_budget_is_thinned_out_evenly(tmp_path):
    (tmp_path / "a.txt").write_text(own_text(600))
    raw = read_raw(files_of(tmp_path), ["Who is nobody?"], most_bytes=60_000)
    assert 20_000 <= sum(map(len, raw.documents)) <= 61_000
    assert any("documents left out" in name for name in raw.counts)
    assert "On day 4" in raw.documents[-1], "the last ones are from the end of the file"


def test_pieces_hold_all_words_of_a_text_in_order():
    for text in (own_text(9), own_text(9).replace("\n", " "), "a b\r\n\r\nc" * 500, "x" * 5000):
        cut = pieces(text, most=200)
        assert max(map(len, cut)) <= 200
        assert "".join("".join(cut).split()) == "".join(text.split())
    assert pieces("") == pieces("\n \n") == []


def test_utf8_with_a_byte_order_mark_and_one_bad_byte():
    assert decode("\ufeffé".encode())[0] == "é"
    assert decode("éàü".encode() + b"\xff")[0] == "éàü\ufffd"


KILLED = """
import os, signal, sys
from utils.train import loop
from utils.align import preference
import utils.capstone.stages as stages
save = loop.save_run
def save_and_die(*arguments, **named):
    save(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
loop.save_run = preference.save_run = save_and_die
from pathlib import Path
stages.run_stage(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_stage_that_was_killed_goes_on_and_only_as_itself(copied):
    whole = read_json(copied / "sft" / RECORD)["outputs"]
    shutil.rmtree(copied / "sft")

    def kill():
        command = [sys.executable, "-c", KILLED, "sft", str(copied)]
        done = subprocess.run(command, cwd=project_root(), capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not (copied / "sft" / RECORD).exists()
        assert list((copied / "sft" / CHECKPOINTS).iterdir())

    kill()
    said = []
    record = run_stage("sft", copied, say=said.append)
    assert record["resumed"] and "goes on" in said[0] and record["outputs"] == whole
    assert not (copied / "sft" / CHECKPOINTS).exists()
    kill()
    write_params(copied, seed=1)
    record = run_stage("sft", copied, say=str)
    assert not record["resumed"] and record["outputs"] != whole


def test_a_stage_before_its_time_names_what_is_missing(copied, capsys):
    assert stage_command(["align", "--project", str(copied)]) == 2
    assert "is missing: run the stage reward before" in capsys.readouterr().err
    with open(copied / "sft" / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    assert stage_command(["reward", "--project", str(copied)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_without_dvc_stages_run_in_order_and_only_those_that_must(copied, monkeypatch, capsys):
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    said: list[str] = []
    summary = projects.run_project(copied, say=said.append)
    idle = [line.split(":")[0] for line in said if "nothing has changed" in line]
    assert idle == ["text", "base", "sft"] and set(summary["records"]) == set(STAGES)
    for method in ("ppo", "grpo"):
        said.clear()
        projects.run_project(copied, {"method": method}, say=said.append)
        idle = [line.split(":")[0] for line in said if "nothing has changed" in line]
        assert idle == ["text", "base", "sft", "reward"]
    capsys.readouterr()
    assert course(["capstone", "table", str(copied)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines[2:]] == [
        ["base", method] for method in ("dpo", "grpo", "ppo")
    ]
    answers = read_rows(copied / "evaluate" / "answers.jsonl")
    metrics = read_json(copied / "evaluate" / RECORD)["metrics"]
    right = [row["safety right"] for row in answers if row["part"] == "domain"]
    assert metrics["domain: right, safety"]["value"] == sum(right) / len(right)
    columns = [f"metrics.{name}.value" for name in metrics]
    kept = projects.EXPERIMENTS.split('--keep "')[1].rstrip('"')
    assert [column for column in columns if re.match(kept, column)] == [
        "metrics.unknown: made up, safety.value", "metrics.domain: right, safety.value",
    ]  # fmt: skip


@needs_dvc
@pytest.mark.slow
def test_dvc_runs_what_depends_on_a_change_and_nothing_else(tmp_path, capfd):
    root = tmp_path / "project"
    assert course(["capstone", "init", str(root)]) == 0

    def ran(*changes: str) -> list[str]:
        capfd.readouterr()
        words = [word for change in changes for word in ("--set", change)]
        assert course(["capstone", "run", str(root), *words]) == 0
        out = capfd.readouterr().out
        return [line.split("'")[1] for line in out.splitlines() if line.startswith("Running")]

    write_params(root)
    if os.name != "nt":
        kill_a_run(root, where="sft")
        assert set(projects.records_of(root)) >= {"text", "base"}
        rest = ran()
        assert rest and rest == list(STAGES)[-len(rest) :], "what was finished is not run again"
    else:
        assert ran() == list(STAGES)
    assert ran() == [] and set(projects.records_of(root)) == set(STAGES)
    path = root / "clinic" / "pairs.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert ran() == ["text", "reward", "align", "safety", "evaluate", "report"]
    assert len(list((root / "runs").iterdir())) == 2
    assert stages_of_dry_run(root, method="grpo") == ["align"]
    assert stages_of_dry_run(root, domain="contracts") == ["text"]


def kill_a_run(root: Path, where: str) -> None:
    """Start a run, and kill DVC and the stage at once when a stage has written a checkpoint."""
    command = [sys.executable, "-m", "utils.cli", "capstone", "run", str(root)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(command, cwd=project_root(), start_new_session=True, **quiet)
    end = time.monotonic() + 300
    while not list((root / where).glob(f"{CHECKPOINTS}/*.safetensors")):
        assert run.poll() is None and time.monotonic() < end, "the run ended before the stage"
        time.sleep(0.02)
    others = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    psutil.wait_procs(others, timeout=60)


def stages_of_dry_run(root: Path, **values: str) -> list[str]:
    """Return which stages a change of parameters makes necessary; later ones follow by files."""
    write_params(root, **values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", partial(subprocess.run, capture_output=True, text=True))
        said = projects.dvc(root, "repro", "--dry").stdout
    write_params(root)
    return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running")]


@pytest.fixture
def contrary_settings(tmp_path, monkeypatch):
    """A person's git settings that stop commits, change texts and leave rows out."""
    home = tmp_path / "home"
    (home / "hooks").mkdir(parents=True)
    (home / "hooks" / "pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (home / "hooks" / "pre-commit").chmod(0o755)
    (home / "ignored").write_text("*.jsonl\n*.yaml\n")
    (home / ".gitconfig").write_text(
        f"[core]\nhooksPath = {home.as_posix()}/hooks\nautocrlf = true\n"
        f"excludesFile = {home.as_posix()}/ignored\n"
        "[commit]\ngpgsign = true\n[user]\nuseConfigOnly = true\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))


def git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def contents(root: Path, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Return the files of a folder with their bytes, apart from some folders in it."""
    files = [path for path in root.rglob("*") if path.is_file()]
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if name.partition("/")[0] not in without
    }


@needs_dvc
@needs_git
@pytest.mark.slow
@pytest.mark.usefixtures("contrary_settings")
def test_dvc_exp_run_over_settings_gives_a_table_and_leaves_the_folder(tmp_path, capfd):
    root = tmp_path / "project"
    assert course(["capstone", "init", str(root), "--git"]) == 0
    assert projects.EXPERIMENTS in capfd.readouterr().out
    lab = (project_root() / "solutions" / "source" / "17_capstone.py").read_text("utf-8")
    assert all(part.strip() in lab for part in projects.EXPERIMENTS.split("--keep "))
    write_params(root)
    before, commit = contents(root, without=(".git", ".dvc")), git(root, "rev-parse", "HEAD")
    changed = git(root, "status", "--porcelain")
    seeds = {"workspace": 0, "seed-1": 1, "seed-2": 2}
    for seed in (1, 2):
        words = ("--temp", "--name", f"seed-{seed}", "--set-param", f"seed={seed}")
        projects.dvc(root, "exp", "run", "text", *words)
    assert contents(root, without=(".git", ".dvc")) == before
    assert git(root, "rev-parse", "HEAD") == commit
    assert git(root, "status", "--porcelain") == changed == " M params.yaml\n"

    capfd.readouterr()
    projects.dvc(root, "exp", "show", "--json")
    workspace, baseline = json.loads(capfd.readouterr().out)
    found = {"workspace": workspace["data"]}
    for experiment in baseline["experiments"]:
        (revision,) = experiment["revs"]
        found[experiment["name"]] = revision["data"]
        differs = git(root, "diff", "--name-only", "HEAD", revision["rev"]).split()
        assert differs == ["dvc.lock", PARAMS]
    params = {name: data["params"][PARAMS]["data"] for name, data in found.items()}
    wanted = {name: asdict(Params(budget="smoke", seed=seed)) for name, seed in seeds.items()}
    assert params == wanted
    records = {name: found[name]["metrics"]["text/record.json"]["data"] for name in list(seeds)[1:]}
    one, two = records["seed-1"], records["seed-2"]
    raw = {path: before[path] for path in before if path.startswith("clinic/")}
    wanted = {path: hashlib.sha256(data).hexdigest() for path, data in raw.items()}
    assert len(raw) == 3 and one["inputs"] == two["inputs"] == wanted, "a copy has the same bytes"
    assert [record["params"]["seed"] for record in records.values()] == [1, 2]
    differing = {path for path in one["outputs"] if one["outputs"][path] != two["outputs"][path]}
    assert differing >= {"text/documents.jsonl", "text/chats.jsonl", "text/exam.jsonl"}
    for name, record in records.items():
        for path, digest in record["outputs"].items():
            kept = found[name]["outs"][path]["hash"]
            file = root / ".dvc" / "cache" / "files" / "md5" / kept[:2] / kept[2:]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == digest, (name, path)

    projects.dvc(root, "exp", "show", "--md", "--drop", ".*", "--keep", "Exp|seed")
    rows = [line.split("|")[1:3] for line in capfd.readouterr().out.splitlines() if "[seed" in line]
    assert sorted((name.split("[")[1][:6], int(seed)) for name, seed in rows) == [
        ("seed-1", 1), ("seed-2", 2),
    ]  # fmt: skip


@needs_dvc
@needs_git
@pytest.mark.slow
@pytest.mark.weekly
@pytest.mark.usefixtures("contrary_settings")
def test_dvc_exp_apply_brings_a_whole_run_into_the_folder(tmp_path):
    root = tmp_path / "project"
    assert course(["capstone", "init", str(root), "--git"]) == 0
    write_params(root)
    projects.dvc(root, "exp", "run", "--temp", "--name", "other", "--set-param", "seed=1")
    assert not (root / "base").exists(), "the run was in a copy"
    projects.dvc(root, "exp", "apply", "other")
    assert read_params(root).seed == 1
    found = {name: json.loads((root / name / RECORD).read_text()) for name in STAGES}
    for name, record in found.items():
        assert record["outputs"], name
        for path, digest in record["outputs"].items():
            assert hashlib.sha256((root / path).read_bytes()).hexdigest() == digest, path
    for command in ("report", "check"):  # the pack's PDF is made here, and no output of DVC's
        assert course(["capstone", command, str(root)]) == 0


@needs_dvc
@needs_git
@pytest.mark.slow
@pytest.mark.usefixtures("contrary_settings")
def test_a_project_inside_a_repository_gets_its_own_and_leaves_the_outer(tmp_path, monkeypatch):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    (outer / "mine.txt").write_text("mine")
    git(outer, "add", "mine.txt")
    before = contents(outer)
    with monkeypatch.context() as hook:  # of the outer repository: git names it to all that it runs
        hook.setenv("GIT_DIR", str(outer / ".git"))
        hook.setenv("GIT_INDEX_FILE", str(outer / ".git" / "index"))
        assert course(["capstone", "init", str(outer / "project"), "--git"]) == 0
    root = outer / "project"
    assert contents(outer, without=("project",)) == before
    assert git(outer, "status", "--porcelain") == "A  mine.txt\n?? project/\n"
    assert Path(git(root, "rev-parse", "--show-toplevel").strip()).samefile(root)
    assert git(root, "status", "--porcelain") == ""
    assert set(git(root, "ls-files").splitlines()) == {
        ".gitignore", ".gitattributes", ".dvcignore", ".dvc/.gitignore", ".dvc/config",
        "params.yaml", "dvc.yaml", "budgets.yaml", "governance.yaml",
        *(f"{folder}/{name}.jsonl" for folder in ("clinic", "contracts")
          for name in ("chats", "documents", "pairs")),
    }  # fmt: skip
    config = (root / ".dvc" / "config").read_text()
    assert "analytics = false" in config and "check_update = false" in config
    for stage in STAGES:
        (root / stage).mkdir()
        (root / stage / RECORD).write_text("{}")
    assert git(root, "status", "--porcelain") == "", "what stages write is left to DVC"
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(STAGES)


def test_without_git_or_dvc_no_repository_is_begun_and_it_is_said(tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert course(["capstone", "init", str(root), "--git"]) == 2
        said = capsys.readouterr().err
        assert "install it" in said and "without --git" in said and said.count("\n") == 1
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: name)
        patch.setattr(projects, "has_dvc", lambda: False)
        assert course(["capstone", "init", str(root), "--git"]) == 2
        said = capsys.readouterr().err
        assert "extra `ops`" in said and said.count("\n") == 1
    assert not root.exists()


@needs_dvc
@pytest.mark.skipif(os.name == "nt", reason="the stand-in for git is a shell script")
def test_a_git_that_fails_says_why_and_what_to_do(tmp_path, monkeypatch, capsys):
    (tmp_path / "git").write_text("#!/bin/sh\necho 'fatal: no space left' >&2\nexit 128\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    root = tmp_path / "project"
    assert course(["capstone", "init", str(root), "--git"]) == 2
    said = capsys.readouterr().err
    assert "git init ended with 128: fatal: no space left" in said and f"remove {root}" in said
    assert not (root / PARAMS).exists(), "an unfinished folder is no project"
