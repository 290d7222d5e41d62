"""`course chat`: streams on a cache that stays; stops an answer, and not the program."""

import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
import torch

from utils.commands import chat
from utils.commands.chat import ContextFull, Conversation, NoChat, open_conversation
from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.streaming import shared_prefix, stream
from utils.settings import project_root
from utils.tokens.chat import render_chat
from utils.tokens.tokenizer import Tokenizer
from utils.world.documents import plain_question
from utils.zoo.files import CorruptModel, save_model


@pytest.fixture
def model() -> Decoder:
    torch.manual_seed(0)
    return Decoder(TransformerConfig(264, 64, d_model=16, n_layers=2, n_heads=2)).eval()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streamed_tokens_are_those_of_generate(model, temperature):
    prompt = [5, 9, 2, 2, 7]
    wanted = generate(
        model,
        torch.tensor([prompt]),
        20,
        temperature=temperature,
        generator=torch.Generator().manual_seed(3),
    )[0, 5:].tolist()
    cache = KVCache(model.config, 1, 64)
    draws = torch.Generator().manual_seed(3)
    written = list(stream(model, cache, prompt, 20, temperature=temperature, generator=draws))
    assert written == wanted and cache.length == 24
    end = written[6]
    cache.length = 0
    draws = torch.Generator().manual_seed(3)
    stopped = list(
        stream(model, cache, prompt, 20, end_id=end, temperature=temperature, generator=draws)
    )
    assert stopped == written[: written.index(end)]


def test_a_stream_goes_on_behind_what_the_cache_holds_and_ends_where_it_is_full(model):
    whole, cache = [5, 9, 2, 2, 7, 1], KVCache(model.config, 1, 10)
    wanted = generate(model, torch.tensor([whole]), 5)[0, 6:].tolist()
    assert len(list(stream(model, cache, whole[:3], 1))) == 1 and cache.length == 3
    assert list(stream(model, cache, whole[3:], 50)) == wanted, "room for four, and one unread"
    assert cache.length == 10
    with pytest.raises(ValueError, match="do not fit"):
        list(stream(model, cache, [1], 1))


def test_between_tokens_the_caller_may_want_gradients(model):
    for _ in stream(model, KVCache(model.config, 1, 8), [1, 2], 3):
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_shared_prefix_edges():
    assert shared_prefix([], [1]) == 0 and shared_prefix([1, 2], [1, 2]) == 2


def conversation(model, **settings) -> Conversation:
    tokenizer = Tokenizer.train(["low lower lowest"] * 3, 264)

    def as_chat(messages):
        return tokenizer.chat(messages, add_prompt=True).token_ids

    return Conversation(model, tokenizer, as_chat, max_new_tokens=6, **settings)


def test_each_turn_reads_only_what_is_new_and_answers_as_without_a_cache(model):
    talk = conversation(model)
    first = "".join(talk.say("low"))
    assert talk.n_read == 3  # <|user|> low <|assistant|>
    assert [m["role"] for m in talk.messages] == ["user", "assistant"]
    assert talk.messages[1]["content"] == first
    second = "".join(talk.say("lower"))
    prompt = talk.render(talk.messages[:3])
    assert talk.n_read < len(prompt)
    fresh = generate(model, torch.tensor([prompt]), 6, end_id=talk.tokenizer.end_id)
    wanted = talk.tokenizer.decode(fresh[0, len(prompt) :].tolist(), skip_special=True)
    assert wanted.startswith(second)
    talk.reset()
    assert "".join(talk.say("low")) == first and talk.n_read == 3


def test_an_answer_that_is_stopped_is_what_was_said():
    talk = open_conversation(chat.BASE)
    pieces = talk.say("Repeat t1b2.")
    said = next(pieces)
    pieces.close()
    assert talk.messages[-1] == {"role": "assistant", "content": said}
    assert len(talk.held) == talk.cache.length
    assert "".join(talk.say("Repeat k4m9.")).strip().rstrip(".") == "k4m9"


def test_a_full_context_is_said_and_the_conversation_stays(model):
    talk = conversation(model)
    "".join(talk.say("low"))
    before = list(talk.messages)
    with pytest.raises(ContextFull, match="/reset begins anew"):
        "".join(talk.say("low lower lowest " * 30))
    assert talk.messages == before


def test_the_base_model_is_asked_in_the_form_that_it_knows():
    talk = open_conversation(chat.BASE)
    assert "".join(talk.say("Repeat t1b2.")).strip().rstrip(".") == "t1b2"


def start(master_of: int | None, *arguments: str) -> subprocess.Popen:
    env = {**os.environ, "COURSE_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE if master_of is None else master_of
    return subprocess.Popen(
        [sys.executable, "-m", "utils.cli", "chat", *arguments],
        cwd=project_root(),
        env=env,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=master_of is None,
        start_new_session=True,
    )


@pytest.mark.slow
def test_three_turns_over_pipes():
    process = start(None, "--model", "base")
    printed, _ = process.communicate("Repeat t1b2.\n/help\n/reset\nRepeat k4m9.\n", timeout=120)
    assert process.returncode == 0
    assert "t1b2" in printed and "k4m9" in printed and "(forgotten)" in printed
    assert printed.count("Ctrl-C stops an answer") == 2


def read_until(master: int, words: str, seconds: float = 90) -> str:
    text, end = "", time.monotonic() + seconds
    while words not in text and time.monotonic() < end:
        if select.select([master], [], [], 1)[0]:  # a program that says nothing more is no hang
            text += os.read(master, 4096).decode(errors="replace")
    assert words in text, text
    return text


def interrupt_at_the_prompt(process, master: int) -> None:
    """Press Ctrl-C until the prompt stands there anew.

    A signal that comes after the prompt is printed and before the program waits for keys is seen
    with the next key or signal only; a person would press again.
    """
    for _ in range(30):
        process.send_signal(signal.SIGINT)
        if select.select([master], [], [], 3)[0]:
            break
    read_until(master, "you: ")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are of Unix")
def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path):
    """In a terminal: an interrupt at the prompt, another in an answer, then the end of input."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\nfrom utils.commands import chat\n"
        "say = chat.Conversation.say\n"
        "def slowly(self, text):\n"
        "    for piece in say(self, text):\n"
        "        yield piece\n"
        "        time.sleep(2)\n"
        "chat.Conversation.say = slowly\n"
        "sys.exit(chat.main('base', None, 0.0, None, 0))\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(slow)],
        env={**os.environ, "COURSE_THREADS": "1", "PYTHONPATH": str(project_root())},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        read_until(master, "you: ")
        interrupt_at_the_prompt(process, master)
        os.write(master, b"Reverse the letters f a e h.\n")
        read_until(master, "model: ")
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        assert "(stopped)" in read_until(master, "you: ")
        os.write(master, b"Repeat t1b2.\n")
        read_until(master, "you: ")
        os.write(master, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(master)
        os.close(slave)


def test_without_the_model_the_small_one_is_offered(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_MODEL", "none")
    assert chat.main(None, None, 0.0, None, 0) == 2
    assert "course chat --model base" in capsys.readouterr().err


@pytest.fixture
def project(model, tmp_path):
    """Return a folder with models as the stages of a capstone project leave them."""
    tokenizer = Tokenizer.train(["low lower lowest"] * 3, 264)
    for stage, record in (
        ("base", {"begun_from": "scratch"}),
        ("reward", {"head": {"mean": [0.0]}}),
        ("safety", {"metrics": {}}),
    ):
        save_model(tmp_path / stage, model, tokenizer, record)
    return tmp_path


def test_a_tuned_stage_of_a_project_is_asked_in_the_courses_markup(project, model):
    talk = open_conversation(str(project / "safety"), system="low", max_new_tokens=6)
    said = "".join(talk.say("lower"))
    chat_ids = render_chat(talk.messages[:2], talk.tokenizer, add_prompt=True).token_ids
    assert talk.render(talk.messages[:2]) == chat_ids
    end_id = talk.tokenizer.end_id
    wanted = generate(model, torch.tensor([chat_ids]), 6, end_id=end_id)[0, len(chat_ids) :]
    assert said == talk.tokenizer.decode(wanted.tolist(), skip_special=True)


def test_the_base_stage_is_asked_in_the_form_that_it_knows(project):
    talk = open_conversation(str(project / "base"), max_new_tokens=6)
    "".join(talk.say("lower"))
    question = talk.tokenizer.encode(plain_question("lower"))
    assert talk.render(talk.messages[:1]) == [talk.tokenizer.end_id, *question]


def test_what_nobody_can_talk_to_names_what_one_can(project, capsys):
    with pytest.raises(NoChat, match=r"several stages \(base, reward, safety\): name one"):
        open_conversation(str(project))
    with pytest.raises(NoChat, match="reward model, which gives points"):
        open_conversation(str(project / "reward"))
    assert chat.main(str(project), None, 0.0, None, 0) == 2
    assert f"course chat --model {project / 'safety'}" in capsys.readouterr().err


def test_a_damaged_stage_is_named(project, capsys):
    (project / "safety" / "tokenizer.json").write_text("{}")
    with pytest.raises(CorruptModel, match="tokenizer.json is damaged"):
        open_conversation(str(project / "safety"))
    assert chat.main(str(project / "safety"), None, 0.0, None, 0) == 2
    assert "is damaged" in capsys.readouterr().err


def test_the_word_base_means_the_shipped_model_wherever_one_stands(project, monkeypatch):
    monkeypatch.chdir(project)
    assert open_conversation(chat.BASE).tokenizer.vocab_size != 264
    assert open_conversation("./base").tokenizer.vocab_size == 264
