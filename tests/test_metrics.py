"""Bits per byte and perplexity: units, independence of the tokenizer, bad input."""

import math

import pytest

from utils.evaluate.metrics import bits_per_byte, perplexity


def test_a_uniform_guess_over_bytes_costs_eight_bits():
    assert bits_per_byte(math.log(256), 1, 1) == pytest.approx(8)


def test_a_code_table_worked_by_hand():
    # 4 tokens spell 12 bytes; probabilities 1/2, 1/4, 1/8, 1/8 cost 1 + 2 + 3 + 3 = 9 bits.
    loss_nats = -sum(math.log(p) for p in (1 / 2, 1 / 4, 1 / 8, 1 / 8)) / 4
    assert bits_per_byte(loss_nats, 4, 12) == pytest.approx(9 / 12)


def test_the_same_text_in_fewer_tokens_costs_the_same():
    whole = 40.0  # nats of the text
    assert bits_per_byte(whole / 10, 10, 30) == pytest.approx(bits_per_byte(whole / 5, 5, 30))


@pytest.mark.parametrize("n_tokens, n_bytes", [(0, 5), (5, 0), (-1, 5), (5, -1)])
def test_nothing_to_divide_is_refused(n_tokens, n_bytes):
    with pytest.raises(ValueError, match=f"got {n_tokens} and {n_bytes}"):
        bits_per_byte(1.0, n_tokens, n_bytes)


def test_perplexity_of_a_uniform_guess_is_the_number_of_tokens():
    assert perplexity(math.log(1024)) == pytest.approx(1024)
    assert perplexity(0.0) == 1.0
