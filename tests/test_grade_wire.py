import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.grading import wire

scalars = (
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.binary()
) | st.text(st.characters(exclude_categories=[]))
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_plain_values_come_back_as_they_were(value):
    back = wire.decode(wire.encode(value))
    assert repr(back) == repr(value)  # so that NaN, -0.0 and the types count as well


@pytest.mark.parametrize("dtype", wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_come_back_with_dtype_and_shape(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = wire.decode(wire.encode([array, array.T]))
    for got, want in zip(back, [array, array.T], strict=True):
        assert got.dtype == want.dtype and np.array_equal(got, want) and got.shape == want.shape
        assert got.flags.writeable and got.flags.owndata or got.base is not None


def test_numbers_of_numpy_are_arrays_and_other_byte_orders_are_turned():
    assert wire.decode(wire.encode(np.float32(2.5))).shape == ()
    assert wire.decode(wire.encode(np.array([1, 2], ">i4"))).tolist() == [1, 2]


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.array(["a"]), np.array([1j]), np.array([None]), 1 << 2000, range(3)],
    ids=lambda value: type(value).__name__,
)
def test_other_values_may_not_travel(value):
    with pytest.raises(wire.WireError):
        wire.encode([value])


def nested(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


def test_limits_hold_at_both_ends():
    assert wire.decode(wire.encode(nested(wire.MAX_DEPTH))) == nested(wire.MAX_DEPTH)
    with pytest.raises(wire.WireError, match="levels"):
        wire.encode(nested(wire.MAX_DEPTH + 1))
    deep = (b"l" + wire.SIZE.pack(1)) * 100_000 + b"N"
    with pytest.raises(wire.WireError):
        wire.decode(deep)
    with pytest.raises(wire.WireError, match="entries"):
        wire.encode(dict.fromkeys(range(wire.MAX_ENTRIES + 1)))


PRIME = sys.hash_info.modulus


def collide_with(n, make):
    """Return n unequal values with one hash."""
    return [make(PRIME * k) for k in range(1, n + 1)]


@pytest.mark.parametrize("make", [int, lambda k: (k, 1), lambda k: ((k,), "a"), lambda k: (1, k)])
@pytest.mark.parametrize("shape", [list, tuple, dict.fromkeys, lambda v: [{k: 1} for k in v]])
def test_a_message_of_values_that_slow_dictionaries_is_refused_whole(make, shape):
    many, few = (shape(collide_with(n, make)) for n in (200, 10))
    with pytest.raises(wire.WireError, match="slow dictionaries"):
        wire.decode(wire.encode(many))
    assert wire.decode(wire.encode(few)) == few
    honest = [(k % 7, -1 - k % 3) for k in range(5000)] + list(range(-2000, 2000))
    assert wire.decode(wire.encode(honest)) == honest


def test_a_message_is_bounded_as_a_whole(monkeypatch):
    monkeypatch.setattr(wire, "MAX_ENTRIES", 100)
    monkeypatch.setattr(wire, "MAX_REPLY_ITEMS", 1000)
    monkeypatch.setattr(wire, "MAX_REPLY", 20_000)
    monkeypatch.setattr(wire, "MAX_REPLY_TEXT", 50)
    for value, why in (
        ([dict.fromkeys(range(60)), dict.fromkeys(range(60))], "more than 100 entries"),
        ([[0] * 600] * 2, "more than 1,000 items"),
        ([np.zeros(1500), np.zeros(1500)], "more than 20,000 bytes"),
        (["x" * 51], "more than 50 bytes"),
    ):
        message = wire.encode(value)
        with pytest.raises(wire.WireError, match=why):
            wire.decode(message)
        wire.decode(message[:1] + message[1:], from_scorer=True) if "entries" not in why else None


SIZE = wire.SIZE.pack


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"?",
        b"NN",
        b"f123",
        b"i" + SIZE(2) + b"--",
        b"i" + SIZE(3) + b"1 2",
        b"i" + SIZE(900) + b"9" * 900,
        b"s" + SIZE(1) + b"\xff",
        b"s" + SIZE(1 << 60) + b"a",
        b"l" + SIZE(1 << 60),
        b"l" + SIZE(2) + b"N",
        b"d" + SIZE(1) + b"l" + SIZE(0) + b"N",
        b"a" + bytes([200, 0]),
        b"a" + bytes([0, 200]),
        b"a" + bytes([8, 1]) + SIZE(1 << 62),
        b"a" + bytes([8, 2]) + SIZE(1 << 63) + SIZE(2),
        b"a" + bytes([8, 1]) + SIZE(2) + b"1234",
    ],
)
def test_malformed_messages_are_refused(message):
    with pytest.raises(wire.WireError):
        wire.decode(message)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(message):
    try:
        value = wire.decode(message)
    except wire.WireError:
        return
    wire.encode(value)
