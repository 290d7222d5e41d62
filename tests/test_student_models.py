"""Models and generators that a check sends: in the notebook, over the pipe, in the sandbox."""

import ast

import numpy as np
import pytest
import torch

from tests.hostile import corpus
from tests.learners import PLACES, defined_in
from utils.grading import classroom, grade, kit, sandbox, wire
from utils.labs.student import LearnerError, Student
from utils.labs.values import Seed, SmallModel, TableModel, to_learner
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.settings import project_root

LAB = "05_generation"
CONFIG = {"vocab_size": 11, "context_length": 12, "d_model": 8, "n_layers": 1, "n_heads": 2}
SOURCE = """
    import torch
    from utils.model.generate import generate

    def look_up(model, token_ids):
        first = model(token_ids)
        model(token_ids[:, :1])
        return first
    def draw(generator): return torch.rand(4, generator=generator)
    def draw_without(): return torch.rand(4)
    def view(x, y): return y[:1], x.clone(), x
    def is_training(model): return model.training
    def write(model, token_ids): return generate(model, token_ids, 3)
    def sample(model, token_ids): return generate(model, token_ids, 3, temperature=9.0)
    def course_cache(model, token_ids):
        from utils.model.cache import KVCache
        return model(token_ids, KVCache(model.config, 1, 5))
    def course_sampler():
        from utils.model.sampling import sample_next_token
        return sample_next_token(torch.zeros(1, 4))
"""


def small() -> tuple[SmallModel, Decoder]:
    torch.manual_seed(0)
    model = Decoder(TransformerConfig(**CONFIG)).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return SmallModel(CONFIG, weights), model


@pytest.fixture(scope="module", params=PLACES)
def student(request, tmp_path_factory):
    """Return the proxy of the same functions in each of the three places."""
    yield from defined_in(request.param, LAB, SOURCE, tmp_path_factory)


def test_a_table_is_looked_up_and_says_what_it_read(student):
    table = np.arange(9, dtype=np.float32).reshape(3, 3)
    got = student.look_up(TableModel(table), np.array([[2, 0, 1]]))
    assert np.array_equal(got, table[[2, 0, 1]][None])
    assert student.arguments_after[0] == [(1, 3), (1, 1)]
    with pytest.raises(LearnerError, match=r"TypeError.*\(B, T\)"):
        student.look_up(TableModel(table), np.array([2, 0, 1]))


def test_a_small_model_is_the_same_decoder_in_evaluation_mode(student):
    sent, model = small()
    token_ids = np.array([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        want = model(torch.from_numpy(token_ids)).numpy()
    np.testing.assert_allclose(student.look_up(sent, token_ids), want, atol=1e-6)
    assert student.arguments_after[0] == [(1, 5), (1, 1)]
    assert student.is_training(sent) is False


def test_a_generator_has_its_seed_and_other_draws_change_from_call_to_call(student):
    first, again, other = (student.draw(Seed(k)) for k in (7, 7, 8))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, torch.rand(4, generator=torch.Generator().manual_seed(7)))
    assert not np.array_equal(student.draw_without(), student.draw_without())


def test_views_are_told_from_copies(student):
    student.view(np.ones(3, np.float32), np.zeros(3, np.float32))
    assert student.shared_memory == [1, None, 0]


def test_generate_writes_greedy_text(student):
    sent, model = small()
    row = [3, 1, 4]
    for _ in range(3):
        row.append(int(model(torch.tensor([row]))[0, -1].argmax()))
    assert student.write(sent, np.array([[3, 1, 4]])).tolist() == [row]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Return the proxy where the course's answers are not there."""
    folder = kit.make_kit(LAB, tmp_path_factory.mktemp("kit"))
    job = grade.Job(LAB, "ada", None, 0, kit=str(folder), trusted=True)
    worker = grade.Worker(job, (corpus.code(SOURCE),), tmp_path_factory.mktemp("scratch"))
    yield Student(grade.RemoteBackend(worker)), folder
    worker.close()


def test_what_is_given_when_graded_holds_no_answer(graded):
    student, folder = graded
    sent, _ = small()
    for call in (student.course_sampler, lambda: student.course_cache(sent, np.array([[1]]))):
        with pytest.raises(LearnerError, match="write yours"):
            call()
    for module, _, function in (t.rpartition(".") for t in kit.exercises_in_source(LAB)):
        path = folder / kit.module_file(module).relative_to(project_root())
        for node in ast.parse(path.read_text("utf-8")).body if path.is_file() else []:
            if getattr(node, "name", None) == function:
                assert "not there when graded" in ast.unparse(node)


def test_the_given_generate_draws_any_token_where_it_may_choose(graded):
    sent, _ = small()
    rows = np.tile(np.array([[3, 1, 4]]), (2000, 1))
    drawn = np.bincount(graded[0].sample(sent, rows)[:, 3], minlength=11)
    assert drawn.min() > 100  # of about 182 each: not the model's shares


def test_the_kits_of_other_labs_hold_no_decoder(tmp_path):
    kit.make_kit("02_attention", tmp_path)
    assert not list(tmp_path.rglob("decoder.py"))


def test_stand_ins_travel_from_the_scorer_only():
    sent, _ = small()
    for value in (Seed(3), TableModel(np.eye(2, dtype=np.float32)), sent):
        message = wire.encode([value])
        (back,) = wire.decode(message, from_scorer=True)
        assert type(back) is type(value)
        with pytest.raises(wire.WireError, match="no type"):
            wire.decode(message)
    assert wire.decode(wire.encode(Seed(3)), from_scorer=True) == Seed(3)


def test_each_call_gets_a_model_and_a_generator_of_its_own():
    seed, table = Seed(1), TableModel(np.eye(2, dtype=np.float32))
    first, second = to_learner([seed, table]), to_learner([seed, table])
    assert first[0] is not second[0] and first[1] is not second[1]
    first[1].table.zero_()
    assert table.table.sum() == 2


def test_a_model_notes_every_way_of_reading_it():
    sent, _ = small()
    model, ids = to_learner([sent, np.array([[1, 2, 3]])])
    model(ids)
    model(token_ids=ids[:, :2])
    model.forward(ids[:, :1])
    assert model.shapes_read == [(1, 3), (1, 2), (1, 1)]


@pytest.mark.slow
@pytest.mark.skipif(bool(sandbox.refusal()), reason=str(sandbox.refusal()))
def test_the_solution_gets_all_points_in_the_sandbox_and_the_lab_none(tmp_path):
    paths = [project_root() / folder / f"{LAB}.ipynb" for folder in ("solutions", "labs")]
    records = classroom.grade_class(LAB, paths, tmp_path / "out", n_jobs=1)
    solved, released = (record["checks"] for record in records)
    assert all(check["earned"] == check["points"] for check in solved), solved
    assert not any(check["earned"] for check in released)
