"""Unit 07: LoRA against full fine-tuning on form and on new facts, and where adapters belong."""

import copy
from functools import lru_cache

import torch

from tests.claims.registry import claim
from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import answer_questions, judge_answers, plain_prompt, share
from utils.model.generate import generate_batch
from utils.model.lora import add_lora, count_trainable, lora_layers
from utils.model.nf4 import quantize_model_nf4
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents, supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import constant
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

RANK, ALPHA, BATCH = 8, 16, 16
HOUSE_STYLE = "Note from the clinic: "
SKILLS_TOO = ("fact", "copy", "sort", "reverse", "sum")


@lru_cache(maxsize=1)
def town():
    """Return the world that all of these are about."""
    return build_world(0)


def prepared(seed, adapters, also_train=()):
    """Return the base model, with adapters or to be tuned whole, and its tokenizer."""
    model, tokenizer = load_base()
    torch.manual_seed(seed)
    if adapters:
        add_lora(model, RANK, ALPHA, also_train=also_train)
    return model, tokenizer


def tune(model, tokenizer, examples, lr, n_steps, seed):
    train(
        model,
        supervised_batches(examples, BATCH, 127, tokenizer.pad_id, seed=seed),
        sft_loss,
        adamw(model, lr=lr, weight_decay=0.01),
        n_steps,
        schedule=constant(warmup_steps=10),
    )


def as_chat(tokenizer, question):
    message = {"role": "user", "content": question.prompt}
    return render_chat([message], tokenizer, add_prompt=True).token_ids


def in_house_style(conversation):
    """Return a chat whose answer begins as all answers of the house do."""
    asked, answer = conversation
    return [asked, {**answer, "content": HOUSE_STYLE + answer["content"]}]


def as_good_in_form(runs):
    for run in runs:
        assert run["share of weights, LoRA"] <= 0.10, run
        for measured in ("ends", "style", "right"):
            assert run[f"{measured}, LoRA"] >= 0.95 * run[f"{measured}, full"] > 0.5, run


@claim(
    "07_form",
    "on form and style LoRA reaches 95 % of full fine-tuning with at most 10 % of the weights",
    holds=as_good_in_form,
)
def form(seed, n_steps=150):
    told = {}
    for name, adapters, lr in (("full", False, 1e-3), ("LoRA", True, 3e-3)):
        model, tokenizer = prepared(seed, adapters)
        told[f"share of weights, {name}"] = count_trainable(model.parameters()) / sum(
            w.numel() for w in load_base()[0].parameters()
        )
        shown = [in_house_style(chat) for chat in chats(town(), 2000, seed=seed)]
        examples = [render_chat(chat, tokenizer) for chat in shown]
        tune(model, tokenizer, examples, lr, n_steps, seed)
        told |= {f"{key}, {name}": value for key, value in in_chat_form(model, tokenizer).items()}
    return told


def in_chat_form(model, tokenizer, n=200):
    """Return the shares of answers that end, that have the style, and that are right."""
    asked = questions(town(), "trained", n, seed=7)
    prompts = [as_chat(tokenizer, question) for question in asked]
    stops = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    rows = generate_batch(model, prompts, 40, **stops)
    texts = [tokenizer.decode(row, skip_special=True).strip() for row in rows]
    return {
        "ends": sum(len(row) < 40 for row in rows) / n,
        "style": sum(text.startswith(HOUSE_STYLE) for text in texts) / n,
        "right": share(judge_answers(town(), asked, texts), "correct"),
    }


def plain_example(tokenizer, question):
    """Return a question in the plain form with its answer, which alone is to be learned."""
    prompt = plain_prompt(tokenizer, question)
    answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.end_id]
    return prompt + answer, [False] * len(prompt) + [True] * len(answer)


TABLE = ("embedding.weight",)
WAYS = {  # adapters or not, what else learns, rate, share of old questions beside the new ones
    "full": (False, (), 1e-3, 0.0),
    "full, lower rate": (False, (), 3e-4, 0.0),
    "full, replay": (False, (), 1e-3, 0.25),
    "LoRA": (True, (), 1e-3, 0.0),
    "LoRA, replay": (True, (), 1e-3, 0.25),
    "LoRA + table": (True, TABLE, 1e-3, 0.0),
    "LoRA + table, replay": (True, TABLE, 1e-3, 0.25),
}


def learns_less_and_forgets_less(runs):
    for run in runs:
        assert run["gained, LoRA"] < run["gained, full"] - 0.05, run
        assert run["kept, LoRA"] > run["kept, full"] + 0.05, run
        assert run["loss, LoRA"] < run["loss, full"], run
        assert run["gained, LoRA + table"] > run["gained, LoRA"], run
        for way in ("full", "LoRA + table"):
            assert run[f"kept, {way}, replay"] > run[f"kept, {way}"], run


def new_facts_by(way, seed, n_steps):
    """Return what a way of tuning gains on new drugs and keeps of the rest."""
    adapters, also_train, lr, replay = WAYS[way]
    model, tokenizer = prepared(seed, adapters, also_train)
    n_old = round(2400 * replay)
    new = questions(town(), "new_drug", 2400, seed=100 + seed)
    old = questions(town(), "trained", n_old, seed=200 + seed, kinds=SKILLS_TOO) if n_old else []
    examples = [plain_example(tokenizer, question) for question in new + old]
    tune(model, tokenizer, examples, lr, n_steps, seed)
    told = {}
    for name, asked in (
        ("gained", questions(town(), "new_drug", 200, seed=5)),
        ("gained, other words", questions(town(), "new_drug", 200, 6, held_out_phrasing=True)),
        ("kept", questions(town(), "trained", 200, seed=7)),
        ("kept, skills", questions(town(), "trained", 100, seed=8, kinds=SKILLS_TOO[1:])),
    ):
        answers = answer_questions(model, tokenizer, asked)
        told[f"{name}, {way}"] = share(judge_answers(town(), asked, answers), "correct")
    documents = tokenizer.encode_batch(world_corpus(200, seed=77))
    stream = pack_documents(documents, tokenizer.end_id)
    return told | {f"loss, {way}": stream_loss(model, stream, 128)}


def first_way(seed):
    """Return the first 20 steps of full fine-tuning alone."""
    return new_facts_by("full", seed, n_steps=20)


@claim(
    "07_new_facts",
    "on new facts LoRA learns less and forgets less than full fine-tuning at the same rate; its "
    "table of tokens makes it learn more, replay makes both forget less",
    holds=learns_less_and_forgets_less,
    probe=first_way,
    atol=0.04,
)
def new_facts(seed):
    told = {}
    for way in WAYS:
        told |= new_facts_by(way, seed, n_steps=200)
    return told


def belongs_to_the_codes(runs):
    for run in runs:
        for how in TUNINGS:
            gain = run[f"loss before, {how}"] - run[f"beside the codes, {how}"]
            lost = {
                place: (run[f"{place}, {how}"] - run[f"beside the codes, {how}"]) / gain
                for place in ("floats of the codes", "the original", "four bits again")
            }
            assert abs(lost["floats of the codes"]) < 1e-3, (lost, run)
            assert abs(lost["the original"]) > 1e-3, (lost, run)
            assert lost["four bits again"] > (0.5 if how == "light" else 0.0), (lost, run)


TUNINGS = {"light": (3e-4, 40), "long": (3e-3, 150)}  # rate and steps


@claim(
    "07_merging",
    "merged into the floats of its codes a QLoRA adapter loses nothing; the original is another "
    "model; in four bits again a light tuning loses over half of what it gained",
    holds=belongs_to_the_codes,
)
def merging(seed):
    base, tokenizer = load_base()
    new = questions(town(), "new_drug", 2400, seed=100 + seed)
    examples = [plain_example(tokenizer, question) for question in new]
    unseen = [plain_example(tokenizer, q) for q in questions(town(), "new_drug", 200, seed=5)]
    batches = supervised_batches(unseen, 50, 127, tokenizer.pad_id)

    def loss(tuned):
        with torch.inference_mode():
            parts = [sft_loss(tuned(b.token_ids), b.targets).item() for b in map(batches, range(4))]
        return sum(parts) / len(parts)

    told = {}
    for how, (lr, n_steps) in TUNINGS.items():
        torch.manual_seed(seed)
        model = add_lora(quantize_model_nf4(base), RANK, ALPHA)
        told[f"loss before, {how}"] = loss(model)
        tune(model, tokenizer, examples, lr, n_steps, seed)
        told[f"beside the codes, {how}"] = loss(model)
        floats, original = merged(model, base, True), merged(model, base, False)
        told[f"floats of the codes, {how}"] = loss(floats)
        told[f"the original, {how}"] = loss(original)
        told[f"four bits again, {how}"] = loss(quantize_model_nf4(floats))
    return told


def merged(model, base, into_floats_of_codes):
    """Return a copy of the base whose matrices hold the adapters' updates."""
    whole = copy.deepcopy(base)
    for name, layer in lora_layers(model).items():
        weight = whole.get_submodule(name).weight
        source = layer.linear.weight if into_floats_of_codes else weight
        with torch.no_grad():
            weight.copy_(source + layer.update())
    return whole
