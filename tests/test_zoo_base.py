"""The shipped base model: whole, as good as recorded, and rebuilt when damaged."""

import json
import warnings
from dataclasses import replace

import pytest
import torch

import utils.zoo.load as load_module
from utils.evaluate.world_qa import answer_questions, judge_answers, share
from utils.model.decoder import count_parameters
from utils.world.datasheet import text_hash
from utils.world.documents import pretraining_documents
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.build import build_base, main, read_replica, token_stream, validation_loss
from utils.zoo.files import MODEL, RECIPE, TOKENIZER, CorruptModel, file_hash, load_model
from utils.zoo.load import SHIPPED, base_record, load_base
from utils.zoo.recipe import BARS, BASE, Recipe

TINY = Recipe(
    vocab_size=320,
    n_tokenizer_documents=60,
    n_documents=100,
    d_model=16,
    n_layers=1,
    n_heads=2,
    context_length=192,
    batch_size=2,
    n_steps=3,
    warmup_steps=1,
    n_questions=2,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A tiny model, built once; tests that damage it copy the folder."""
    folder = tmp_path_factory.mktemp("zoo") / "base"
    return folder, build_base(folder, TINY)


@pytest.fixture
def copy(built, tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for path in built[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_build_writes_three_files_and_nothing_else(built):
    folder, record = built
    assert sorted(path.name for path in folder.iterdir()) == [MODEL, RECIPE, TOKENIZER]
    stored = base_record(folder)
    assert stored["metrics"] == record["metrics"]
    assert stored["recipe"]["n_steps"] == 3 and stored["trained_tokens"] == 3 * 2 * 192
    assert stored["sha256"][MODEL] == file_hash(folder / MODEL)
    assert stored["data"]["sha256"] == text_hash(pretraining_documents(build_world(0), 100, 0))


def test_the_same_recipe_gives_the_same_model(built, tmp_path):
    build_base(tmp_path, TINY)
    assert (tmp_path / MODEL).read_bytes() == (built[0] / MODEL).read_bytes()
    assert (tmp_path / TOKENIZER).read_bytes() == (built[0] / TOKENIZER).read_bytes()


def test_what_is_loaded_is_what_was_trained(built):
    model, tokenizer = load_base(built[0], rebuild=False)
    assert not model.training
    assert count_parameters(model) == built[1]["n_parameters"]
    assert tokenizer.vocab_size == model.config.vocab_size == 320
    assert torch.equal(model.unembedding.weight, model.embedding.weight)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit_metrics(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    record["metrics"]["trained"] = 1.0
    path.write_text(json.dumps(record), encoding="utf-8")


DAMAGE = [
    (MODEL, truncate, "model.safetensors is damaged: its .* bytes do not have the SHA-256"),
    (MODEL, flip, "model.safetensors is damaged"),
    (MODEL, lambda path: path.unlink(), "model.safetensors is missing"),
    (MODEL, lambda path: path.write_bytes(b""), "model.safetensors is damaged: its 0 bytes"),
    (TOKENIZER, flip, "tokenizer.json is damaged"),
    (TOKENIZER, lambda path: path.unlink(), "tokenizer.json is missing"),
    (RECIPE, truncate, "recipe.json is damaged: it can't be read"),
    (RECIPE, edit_metrics, "recipe.json is damaged: it was changed"),
    (RECIPE, lambda path: path.write_text("[]"), "recipe.json is damaged: it can't be read"),
    (RECIPE, lambda path: path.unlink(), "recipe.json is missing"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGE)
def test_damage_is_refused_with_what_to_do(copy, name, damage, message):
    damage(copy / name)
    with pytest.raises(CorruptModel, match=message + r".*(git checkout|rebuild=True)"):
        load_base(copy, rebuild=False)


def test_line_ends_of_a_windows_checkout_are_no_damage(copy):
    for name in (TOKENIZER, RECIPE):
        text = (copy / name).read_bytes()
        (copy / name).write_bytes(text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    load_base(copy, rebuild=False)


def test_a_damaged_model_is_rebuilt(copy):
    good = (copy / MODEL).read_bytes()
    truncate(copy / MODEL)
    with pytest.warns(UserWarning, match="model.safetensors is damaged.*Training the base model"):
        load_base(copy, recipe=TINY)
    assert (copy / MODEL).read_bytes() == good
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_base(copy, recipe=TINY)  # whole again: no second rebuild


def test_a_damaged_shipped_copy_is_left_alone_and_replaced_under_artifacts(
    copy, tmp_path, monkeypatch
):
    flip(copy / MODEL)
    damaged = (copy / MODEL).read_bytes()
    monkeypatch.setattr(load_module, "SHIPPED", copy)
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))
    with pytest.warns(UserWarning, match="Training the base model again into .*artifacts"):
        load_base(recipe=TINY)
    assert (copy / MODEL).read_bytes() == damaged
    load_model(tmp_path / "artifacts" / "zoo" / "base")


def test_a_build_that_fails_leaves_the_model_before_it(copy, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utils.zoo.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        build_base(copy, replace(TINY, seed=5))
    monkeypatch.undo()
    load_base(copy, rebuild=False)
    assert sorted(path.name for path in copy.iterdir()) == [MODEL, RECIPE, TOKENIZER]


def test_the_stream_has_an_end_token_around_every_document(built):
    tokenizer = load_model(built[0])[1]
    stream = token_stream(tokenizer, ["Hello.", "Bye."])
    parts = [tokenizer.encode("Hello."), tokenizer.encode("Bye.")]
    end = tokenizer.end_id
    assert stream.tolist() == [end, *parts[0], end, *parts[1], end]


def test_replicas_are_named_by_seed_and_world():
    assert read_replica("3", BASE) == replace(BASE, seed=3)
    assert read_replica("3:2", BASE) == replace(BASE, seed=3, world_seed=2)
    with pytest.raises(SystemExit):
        main(["other"])
    with pytest.raises(Exception, match="a replica is SEED or SEED:WORLD"):
        read_replica("three", BASE)


# The shipped model itself


def test_shipped_model_is_whole_small_and_meets_the_bars():
    model, tokenizer = load_base(rebuild=False)
    record = base_record()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 5_000_000
    assert count_parameters(model) == record["n_parameters"] <= 1_000_000
    assert record["recipe"] == json.loads(json.dumps(vars(BASE)))
    made = [record, *record["replicas"]]
    assert len({(m["recipe"]["seed"], m["recipe"]["world_seed"]) for m in made}) >= 3
    for name, bar in BARS.items():
        assert all(m["metrics"][name] >= bar for m in made), name


def test_shipped_model_was_trained_on_the_text_that_the_code_makes():
    record = base_record()
    world = build_world(record["recipe"]["world_seed"])
    n, seed = record["recipe"]["n_documents"], record["recipe"]["seed"]
    assert text_hash(pretraining_documents(world, n, seed)) == record["data"]["sha256"]


def test_shipped_model_and_tokenizer_have_the_recorded_loss():
    model, tokenizer = load_base(rebuild=False)
    record = base_record()
    world = build_world(record["recipe"]["world_seed"])
    recorded = record["metrics"]["validation_loss_nats"]
    assert abs(validation_loss(model, tokenizer, world) - recorded) < 1e-3


def test_shipped_model_answers_as_well_as_recorded():
    model, tokenizer = load_base(rebuild=False)
    record = base_record()
    world = build_world(record["recipe"]["world_seed"])
    n = 40
    for split, kind in (("trained", "fact"), ("held_out_phrasing", "fact"), ("trained", "copy")):
        asked = questions(world, split, n, seed=17, kinds=(kind,))
        accuracy = share(
            judge_answers(world, asked, answer_questions(model, tokenizer, asked)), "correct"
        )
        recorded = record["metrics"][split if kind == "fact" else kind]
        # Four standard errors of a share among n answers, at least 0.05.
        tolerance = max(0.05, 4 * (recorded * (1 - recorded) / n) ** 0.5)
        assert abs(accuracy - recorded) <= tolerance, (split, kind, accuracy, recorded)
