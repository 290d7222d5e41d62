"""A learner's TinyDecoder earns its points in the notebook, over the pipe and in the sandbox.

The parts that it calls are the learner's own there: the kit holds none of the course's answers.
"""

import inspect

import numpy as np
import pytest

from tests.learners import PLACES, defined_in
from utils.grading import kit
from utils.labs import run
from utils.model.block import decoder_block
from utils.model.feedforward import swiglu
from utils.model.norm import rms_norm
from utils.model.tiny import TinyDecoder

LAB = "03_decoder"
IMPORTS = """
import torch
from torch import Tensor, nn
from utils.model.attention import multi_head_attention
from utils.model.rotary import rope_table
"""
OWN = (rms_norm, swiglu, decoder_block, TinyDecoder)
SOURCE = IMPORTS + "\n".join(inspect.getsource(part) for part in OWN)


@pytest.fixture(scope="module", params=PLACES)
def student(request, tmp_path_factory):
    """Return the proxy of a solved lab in each of the three places."""
    yield from defined_in(request.param, LAB, SOURCE, tmp_path_factory)


def test_it_earns_its_points(student):
    results = run.run_checks(LAB, student, 3, "TinyDecoder")
    assert [(r.status, r.hint) for r in results] == [("passed", "")] * 3
    assert sum(r.earned for r in results) == 9


def test_gradients_of_a_module_that_reads_token_ids_are_those_of_its_weights(student):
    model = student.make("TinyDecoder", 5, 4, 8, 1, 2, 12)
    shapes = [gradient.shape for gradient in model.gradients(np.array([[1, 2, 3]]))]
    assert sorted(shapes) == sorted(weight.shape for weight in model.state_dict().values())


def test_a_right_model_of_another_shape_passes(tmp_path_factory):
    """Tables counted from 1 and kept as plain attributes: positions are relative."""
    other = SOURCE.replace(
        '        self.register_buffer("cos", cos, persistent=False)\n'
        '        self.register_buffer("sin", sin, persistent=False)\n',
        "        cos, sin = rope_table(context_length + 1, d_model // n_heads)\n"
        "        self.cos, self.sin = cos[1:], sin[1:]\n",
    )
    assert other != SOURCE
    (student,) = defined_in("notebook", LAB, other, tmp_path_factory)
    assert all(r.earned for r in run.run_checks(LAB, student, 0, "TinyDecoder"))


def test_a_wrong_part_is_named_and_one_not_written_too(tmp_path_factory):
    wrong = SOURCE.replace(".square().mean(", ".square().sum(")
    (student,) = defined_in("notebook", LAB, wrong, tmp_path_factory)
    hints = [r.hint for r in run.run_checks(LAB, student, 0, "TinyDecoder") if not r.earned]
    assert any("your `rms_norm`, which your TinyDecoder may call" in hint for hint in hints), hints
    body = inspect.getsource(decoder_block)
    stub = body[: body.index("    normed =")] + "    raise NotImplementedError\n"
    (student,) = defined_in("notebook", LAB, SOURCE.replace(body, stub), tmp_path_factory)
    hints = [r.hint for r in run.run_checks(LAB, student, 0, "TinyDecoder") if not r.earned]
    assert any("`decoder_block`" in hint and "not written" in hint for hint in hints), hints


def test_the_kit_holds_neither_the_model_nor_its_like(tmp_path):
    kit.make_kit(LAB, tmp_path)
    texts = [path.read_text("utf-8") for path in tmp_path.rglob("*.py")]
    assert not any("class TinyDecoder" in text or "class Decoder" in text for text in texts)
    assert not any("F.silu" in text for text in texts)
