"""A judge behind a real server: taught here, exported, served over HTTP, asked by our client."""

import contextlib
import json
from dataclasses import replace

import psutil
import pytest
import torch

from tests.serve import MISSING, served, serving_python
from utils.model.decoder import Decoder
from utils.model.generate import generate_batch
from utils.model.pretrained import save_hugging_face
from utils.reviews.judge import JudgeError, ask_judge, messages
from utils.reviews.rubric import Criterion, Grade, Rubric
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import AFTER_SYSTEM, render_chat
from utils.tokens.special import ASSISTANT, USER
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.sft import sft_loss
from utils.zoo.load import load_base

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(serving_python() is None, reason=MISSING),
]
CRITERION = Criterion("dose", "names the dose", 2, "right", "in part", "wrong")
RUBRIC = Rubric("dose", "17", 1, "Dose", "Say it.", 2, (CRITERION,), "2 mg.", (), "")
PAIR = {"It is 2 mg.": Grade(2.0, "It does."), "I like tea.": Grade(0.0, "It does not.")}
# The client sends a system text, which our markup puts in front of the first user's.
TEMPLATE = (
    f"{USER}{{{{ messages[0]['content'] }}}}{AFTER_SYSTEM}{{{{ messages[1]['content'] }}}}"
    f"{ASSISTANT}"
)
CONTEXT, N_STEPS, MOST_NEW = 640, 80, 64


@pytest.fixture(scope="module")
def judge():
    """Return the base model with a longer context, taught to grade one pair of answers."""
    base, tokenizer = load_base()
    model = Decoder(replace(base.config, context_length=CONTEXT))
    model.load_state_dict(base.state_dict())
    rows = []
    for answer, grade in PAIR.items():
        reply = json.dumps({"dose": {"points": int(grade.points), "why": grade.why}})
        chat = [*messages(RUBRIC, answer), {"role": "assistant", "content": reply}]
        rows.append(render_chat(chat, tokenizer))
    batches = supervised_batches(rows, 2, CONTEXT, tokenizer.pad_id, seed=0)
    train(model, batches, sft_loss, adamw(model, 2e-3, weight_decay=0.0), N_STEPS)
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def checkpoint(judge, tmp_path_factory):
    """Return the judge as a checkpoint of Hugging Face's form."""
    model, tokenizer = judge
    folder = tmp_path_factory.mktemp("judge") / "checkpoint"
    save_hugging_face(model, folder, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    exported = tokenizer.to_hugging_face()
    exported.chat_template = TEMPLATE
    exported.save_pretrained(folder)
    return folder


def said_here(judge, answer):
    """Return what the judge replies in this process."""
    model, tokenizer = judge
    prompt = render_chat(messages(RUBRIC, answer), tokenizer, add_prompt=True).token_ids
    with torch.inference_mode():
        (ids,) = generate_batch(
            model, [prompt], MOST_NEW, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id
        )
    return json.loads(tokenizer.decode(ids, skip_special=True))


def test_a_pair_is_judged_over_http_as_in_this_process(judge, checkpoint, tmp_path):
    log = tmp_path / "server.log"
    with served(checkpoint, log) as (address, family):
        found = {
            answer: ask_judge(address, RUBRIC, answer, model=str(checkpoint)) for answer in PAIR
        }
        with pytest.raises(JudgeError, match="answered with status 4"):
            ask_judge(address, RUBRIC, "It is 2 mg.", model="a model that is not there")
    for answer, grade in PAIR.items():
        here = said_here(judge, answer)["dose"]
        assert found[answer]["dose"] == Grade(here["points"], here["why"]) == grade
    for number in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            assert psutil.Process(number).status() == psutil.STATUS_ZOMBIE, "an orphan is left"
    assert log.read_text("utf-8").count("POST /v1/chat/completions") == len(PAIR) + 1
    with pytest.raises(JudgeError, match="can't be reached"):
        ask_judge(address, RUBRIC, "It is 2 mg.", seconds=5)


def test_a_server_that_can_not_start_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="did not start"):
        with served(tmp_path / "empty", tmp_path / "server.log"):
            raise AssertionError("it started without a model")
