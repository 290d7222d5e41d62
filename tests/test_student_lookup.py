"""Modules with named weights and batches by step: in the notebook, over the pipe, sandboxed."""

import numpy as np
import pytest

from tests.learners import PLACES, defined_in
from utils.labs.student import LearnerError
from utils.labs.values import CHANGED, Lookup, StepBatches

LAB = "08_forgetting"
SOURCE = """
    import torch
    from utils.tokens.batches import Batch

    def look_up(model, token_ids): return model(token_ids)
    def learns(model): return [n for n, w in model.named_parameters() if w.requires_grad]
    def train_once(model, token_ids):
        model.train()
        model(token_ids).sum().backward()
        with torch.no_grad():
            model.table += 1
    def squares(model, others): return (model.table ** 2 * others["table"]).sum()
    def last_row(new):
        return lambda step: Batch(new(step).token_ids[-1:], new(step).targets[-1:])
    def spoil(new):
        def batch_of(step):
            new(step).token_ids.zero_()
            return new(step)
        return batch_of
    def a_number(new): return 3
    def a_tuple(new): return lambda step: (1, 2)
"""
TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)
IDS = np.arange(12).reshape(2, 2, 3)


@pytest.fixture(scope="module", params=PLACES)
def student(request, tmp_path_factory):
    """Return the proxy of the same functions in each of the three places."""
    yield from defined_in(request.param, LAB, SOURCE, tmp_path_factory)


def test_a_module_looks_up_rows_and_knows_what_learns(student):
    model = Lookup({"table": TABLE, "kept": np.ones(2, np.float32)}, frozen=("kept",))
    got = student.look_up(model, np.array([[2, 0]]))
    assert np.array_equal(got, TABLE[[2, 0]][None])
    assert student.learns(model) == ["table"]
    with pytest.raises(LearnerError, match=r"TypeError.*\(B, T\)"):
        student.look_up(model, np.array([2, 0]))


def test_what_became_of_a_module_is_told(student):
    held = {"table": np.ones((3, 2), np.float32)}
    student.look_up(Lookup({"table": TABLE}, gradients=held), np.array([[0]]))
    after = student.arguments_after[0]
    assert np.array_equal(after["gradients"]["table"], held["table"])
    assert after["is_training"] is False
    student.train_once(Lookup({"table": TABLE}), np.array([[0, 0]]))
    after = student.arguments_after[0]
    assert np.array_equal(after["weights"]["table"], TABLE + 1) and after["is_training"]
    assert after["gradients"]["table"].tolist() == [[2, 2], [0, 0], [0, 0]]


def test_gradients_are_those_of_the_weights_that_learn(student):
    model = Lookup({"table": TABLE, "kept": TABLE}, frozen=("kept",))
    (got,) = student.gradients("squares", model, {"table": TABLE})
    np.testing.assert_allclose(got, 2 * TABLE * TABLE)


def test_a_function_that_comes_back_is_called_for_its_fields(student):
    made = student.make("last_row", StepBatches(IDS, -IDS))
    ids, targets = made.fields(("token_ids", "targets"), 1)
    assert ids.tolist() == IDS[1, -1:].tolist() and targets.tolist() == (-IDS[1, -1:]).tolist()
    with pytest.raises(LearnerError, match="of type int: return a function"):
        student.make("a_number", StepBatches(IDS, IDS)).fields(("token_ids",), 0)
    with pytest.raises(LearnerError, match="no attribute 'token_ids'"):
        student.make("a_tuple", StepBatches(IDS, IDS)).fields(("token_ids",), 0)


def test_batches_notice_that_they_were_changed(student):
    with pytest.raises(LearnerError, match=f"{CHANGED}: that of step 1"):
        student.make("spoil", StepBatches(IDS, IDS)).fields(("token_ids",), 1)
