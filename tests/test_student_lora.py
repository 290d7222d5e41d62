"""A learner's LoRALinear earns its points in the notebook, over the pipe and in the sandbox."""

import importlib

import numpy as np
import pytest
import torch

from tests.learners import PLACES, defined_in
from utils.labs import run
from utils.labs.api import NotebookBackend
from utils.labs.student import LearnerError, Student
from utils.labs.values import Linear, after_call, to_learner

LAB = "07_lora"
IMPORTS = """
import math
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from utils.model.nf4 import BLOCK, SCALES_BLOCK, QuantizedScales, nf4_levels
"""
FOLLOWED = importlib.import_module("tests.hints_followed.07_lora").FOLLOWED
SOURCE = IMPORTS + "\n".join(FOLLOWED.values())


@pytest.fixture(scope="module", params=PLACES)
def student(request, tmp_path_factory):
    """Return the proxy of a solved lab in each of the three places."""
    yield from defined_in(request.param, LAB, SOURCE, tmp_path_factory)


def test_a_solved_lab_earns_all_points(student):
    results = run.run_checks(LAB, student, 3)
    assert not [(r.title, r.hint) for r in results if r.status != "passed"]
    assert sum(r.earned for r in results) == 30


def test_a_layer_says_what_learns_and_what_its_attributes_are(student):
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    layer = student.make("LoRALinear", Linear(weight, np.ones(2, np.float32)), 1, 2.0)
    assert layer.attribute("scale") == 2.0 and layer.attribute("is_merged") is False
    x = np.ones((1, 3), np.float32)
    assert np.array_equal(layer.forward(x), x @ weight.T + 1)
    assert np.array_equal(layer.arguments_after[0], x)
    found = layer.weight_gradients(x)
    assert set(found) == {"down", "up"} and found["up"].shape == (2, 1)


def test_a_module_without_weights_that_learn_is_told_so(tmp_path_factory):
    source = "from torch import nn\nclass LoRALinear(nn.Linear):\n    pass"
    (student,) = defined_in("notebook", LAB, source, tmp_path_factory)
    layer = student.make("LoRALinear", 3, 2)
    assert set(layer.weight_gradients(np.ones((1, 3), np.float32))) == {"weight", "bias"}
    with pytest.raises(LearnerError, match="no attribute"):
        layer.attribute("is_merged")
    frozen = "from torch import nn\ndef LoRALinear(*sizes):\n    " + (
        "return nn.Linear(*sizes).requires_grad_(False)"
    )
    (student,) = defined_in("notebook", LAB, frozen, tmp_path_factory)
    with pytest.raises(LearnerError, match="no weight of the module learns"):
        student.make("LoRALinear", 3, 2).weight_gradients(np.ones((1, 3), np.float32))


def test_the_backend_of_notebooks_gives_the_gradients_of_weights_too():
    student = Student(NotebookBackend({"LoRALinear": torch.nn.Linear}))
    layer = student.make("LoRALinear", 3, 2)
    assert set(layer.weight_gradients(np.ones((1, 3), np.float32))) == {"weight", "bias"}


def test_the_stand_in_for_a_linear_layer_is_one_and_the_fixed_one_is_none():
    weight, bias = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    plain, with_bias, fixed = to_learner(
        [Linear(weight), Linear(weight, bias), Linear(weight, is_fixed=True)]
    )
    x = torch.ones(1, 3)
    assert isinstance(plain, torch.nn.Linear) and not isinstance(fixed, torch.nn.Linear)
    assert plain(x).tolist() == fixed(x).tolist() == [[3, 3]] and with_bias(x).tolist() == [[4, 4]]
    assert (fixed.in_features, fixed.out_features) == (3, 2)
    with torch.no_grad(), pytest.raises(AttributeError, match="no setter"):
        fixed.weight += 1
    assert torch.equal(fixed.weight, torch.ones(2, 3)), "what is read is a copy"
    assert np.array_equal(after_call(plain)["weight"], weight)
