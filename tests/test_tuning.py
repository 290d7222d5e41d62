"""`course tune`: from rows to a folder that transformers and `course chat` read, killed or not."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from utils import cli
from utils.commands import tune as command
from utils.settings import environment, project_root
from utils.text.qa_rows import KNOWN, Columns, is_held_out, question_answer_rows
from utils.zoo import tuning
from utils.zoo.tuning import CHECKPOINTS, RECORD, NoRoom, OtherRun, Tuning

SMALL = Tuning(
    model="base", data="world", n_tokens=800, context_length=64, batch_size=4, checkpoint_every=2
)
LONGER = replace(SMALL, n_tokens=4000)
ARGUMENTS = ["tune", "--model", "base", "--data", "world", "--tokens", "800", "--context", "64"]


@pytest.fixture(scope="module", params=tuning.METHODS)
def tuned(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / request.param
    said = []
    record = command.tune_into(replace(SMALL, method=request.param), folder, said.append)
    return request.param, folder, record, said


def test_the_loss_falls_and_the_record_says_what_was_done(tuned):
    method, folder, record, said = tuned
    assert record["after"] < record["before"]
    assert len(record["losses"]) == record["n_steps"] and 600 < record["tokens"] < 1000
    assert record["rows"]["in the file"] == 2000 and record["rows"]["held out"] == 64
    assert json.loads((folder / RECORD).read_text())["settings"]["method"] == method
    assert record["weights_sha256"] == command.sha256(folder / "model.safetensors")
    assert not (folder / CHECKPOINTS).exists()
    assert any("fit to learn from" in line for line in said)
    everything = sum(w.numel() for w in tuning.load_base()[0].parameters())
    assert (record["trainable"] == everything) == (method == "full")


def test_transformers_and_our_decoder_read_the_folder_alike(tuned):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from utils.zoo.real import load_real

    _, folder, _, _ = tuned
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours, tokenizer = load_real(str(folder))
    chat = [{"role": "user", "content": "Where does Trestex live?"}]
    ids = tokenizer.chat(chat, add_prompt=True).token_ids
    again = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        chat, add_generation_prompt=True
    )
    assert list(again["input_ids"]) == ids
    with torch.inference_mode():
        torch.testing.assert_close(
            theirs(torch.tensor([ids])).logits, ours(torch.tensor([ids])), atol=1e-4, rtol=1e-4
        )


def test_the_card_is_one_that_the_hubs_library_reads(tuned):
    from huggingface_hub import ModelCard

    _, folder, record, _ = tuned
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert f"{record['after']:.3f}" in card.text and record["weights_sha256"] in card.text
    assert "dropped, duplicate" in card.text and "**Before**" in card.text


def test_the_weights_that_are_written_are_those_that_were_measured(tuned):
    from utils.zoo.real import load_real

    method, folder, record, _ = tuned
    model, tokenizer = load_real(str(folder))
    rows, columns = question_answer_rows("world")
    held_out = tuning.prepare(rows, columns, tokenizer, SMALL).held_out
    again = tuning.answer_loss(model, held_out, tokenizer.pad_id)
    assert again == pytest.approx(record["after"], abs=1e-5)


def test_a_finished_folder_another_run_and_other_files_are_refused(tmp_path):
    folder = tmp_path / "run"
    assert not tuning.claim_folder(folder, SMALL)
    assert tuning.claim_folder(folder, SMALL)  # begun, by the same settings
    with pytest.raises(OtherRun, match="rank 16, now 2"):
        tuning.claim_folder(folder, replace(SMALL, rank=2))
    (folder / RECORD).write_text("{}")
    with pytest.raises(OtherRun, match="finished"):
        tuning.claim_folder(folder, SMALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("\\begin")
    with pytest.raises(OtherRun, match="other files"):
        tuning.claim_folder(tmp_path / "mine", SMALL)


def test_a_run_that_is_killed_goes_on_bit_for_bit(tmp_path):
    whole = command.tune_into(LONGER, tmp_path / "whole", lambda line: None)
    with environment(COURSE_ARTIFACTS=str(tmp_path)):
        env = dict(os.environ) | {"PYTHONPATH": str(project_root())}
    # The command has no option for the cadence, and a short run would end before its checkpoint.
    code = (
        "import sys; from utils.commands import tune; from utils.zoo.tuning import Tuning; "
        f"from pathlib import Path; tune.tune_into({LONGER!r}, Path(sys.argv[1]))"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "killed")]
    process = subprocess.Popen(
        line, cwd=project_root(), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = tmp_path / "killed" / CHECKPOINTS
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if checkpoints.is_dir() and any(checkpoints.iterdir()):
            break
        time.sleep(0.01)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    assert not (tmp_path / "killed" / RECORD).exists()
    said = []
    again = command.tune_into(LONGER, tmp_path / "killed", said.append)
    assert any("going on" in line for line in said)
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert again["losses"] == whole["losses"]


def test_no_topic_is_on_both_sides_and_test_questions_leave_the_training():
    rows = [{"question": f"What is number {n % 90}?", "answer": f"It is {n}."} for n in range(900)]
    held = {row["question"] for row in rows if is_held_out(row, Columns())}
    rest = {row["question"] for row in rows if not is_held_out(row, Columns())}
    assert held and rest and not held & rest
    _, tokenizer = tuning.load_base()
    test = next(iter(held))
    rows.append({"question": "A riddle.", "answer": f"They asked me: {test} I said so."})
    prepared = tuning.prepare(rows, Columns(), tokenizer, replace(SMALL, n_held_out=90))
    assert prepared.report.counts()["in the test set"] >= 1
    assert {row["question"] for row in prepared.held_out_rows} == held


def test_what_does_not_fit_is_refused_with_the_numbers():
    model, _ = tuning.load_base()
    planned = tuning.planned_memory(model, SMALL)
    tuning.check_room(planned, available=sum(planned.values()))
    with pytest.raises(NoRoom, match="GB and .* GB are free.*qlora"):
        tuning.check_room({"weights": 28 * 10**9, "optimizer": 56 * 10**9}, available=16 * 10**9)


@pytest.mark.parametrize(
    "lines, words",
    [
        (["{broken"], "line 1 can't be read"),
        (['["a", "list"]'], "line 1 can't be read (list"),
        ([], "holds no rows"),
        (['{"q": "Who?", "a": "Ann."}'] * 9, "no row has the column 'question'"),
        (['{"question": "Who?", "answer": "Ann."}'], "held out"),
    ],
)
def test_a_file_that_can_not_be_learned_from_is_refused_in_words(tmp_path, capsys, lines, words):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines))
    arguments = ["tune", "--model", "base", "--context", "64", "--data", str(path)]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, words",
    [
        (["--data", "nothing.jsonl"], "the course knows medquad"),
        (["--context", "4"], "context_length must be at least 16"),
        (["--context", "4096"], "pass --context 128"),
        (["--rank", "0"], "rank must be at least 1"),
        (["--model", "no/such-model"], "course model"),
    ],
)
def test_arguments_that_can_not_be_are_refused_in_words(tmp_path, capsys, more, words):
    arguments = ["tune", "--model", "base", "--data", "world", "--context", "64"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_known_sets_and_compressed_files_are_read(tmp_path):
    rows = [{"source": "x", "focus": "Gout", "Question": "What is it?", "Answer": "A disease."}]
    with gzip.open(tmp_path / "medquad.jsonl.gz", "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    with environment(COURSE_DATA_DIR=str(tmp_path)):
        found, columns = question_answer_rows("medquad")
    assert found == rows and columns == KNOWN["medquad"]
    assert question_answer_rows(str(tmp_path / "medquad.jsonl.gz"))[0] == rows


def test_the_command_tells_where_the_model_is_and_how_to_talk_to_it(tmp_path, capsys):
    out = tmp_path / "model"
    assert cli.main([*ARGUMENTS, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"course chat --model {out}" in told and "before" in told
    assert cli.main([*ARGUMENTS, "--out", str(out)]) == 2
    assert "finished" in capsys.readouterr().err
    assert Path(out / "README.md").read_text().startswith("---")
