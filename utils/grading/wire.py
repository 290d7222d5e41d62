"""Plain values as bytes: what travels between the scorer and the worker with a learner's code.

The bytes that come back are written by a learner. Reading them builds None, bool, int, float, str,
bytes, list, tuple, dict and arrays of numbers, within limits, and can do nothing else: no pickle,
no class is looked up, no code runs. The values of `STAND_INS` travel towards the learner alone.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import fields

import numpy as np

from utils.labs.values import STAND_INS

MAX_BYTES = 64 << 20
MAX_DEPTH = 24
MAX_ITEMS = 2_000_000  # in all lists, tuples and dictionaries of a message
MAX_ENTRIES = 200_000  # in all dictionaries of a message
MAX_EQUAL_HASHES = 16  # of unequal values: n of them cost a dictionary the square of n
MAX_REPLY = 16 << 20  # bytes of a message from the learner's side
MAX_REPLY_ITEMS = 400_000  # in its lists, tuples and dictionaries
MAX_REPLY_TEXT = 1 << 20  # bytes of a text: NumPy takes seconds to find that it is no number
MAX_INT_BITS = 1024
MAX_AXES = 16
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES += ("float16", "float32", "float64")
SIZE = struct.Struct("<Q")
FLOAT = struct.Struct("<d")
HASH_MODULUS = sys.hash_info.modulus  # smaller whole numbers are their own hash


class WireError(ValueError):
    """A value that may not travel, or bytes that are no value."""


def encode(value: object) -> bytes:
    """Return a plain value as bytes.

    Raises:
        WireError: for any other type, or a value beyond the limits.

    >>> decode(encode({"a": (1, 2.5, None)}))
    {'a': (1, 2.5, None)}
    """
    pieces: list[bytes] = []
    put(value, pieces, 0)
    message = b"".join(pieces)
    if len(message) > MAX_BYTES:
        raise WireError(f"the value takes {len(message):,} bytes, more than {MAX_BYTES:,}")
    return message


def put(value: object, pieces: list[bytes], depth: int) -> None:
    """Append a value's bytes: a letter for the type, then sizes and content."""
    if depth > MAX_DEPTH:
        raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
    kind = type(value)
    if value is None:
        pieces.append(b"N")
    elif kind is bool:
        pieces.append(b"T" if value else b"F")
    elif kind is int:
        if value.bit_length() > MAX_INT_BITS:
            raise WireError(f"the whole number has more than {MAX_INT_BITS} bits")
        put_bytes(b"i", b"%d" % value, pieces)
    elif kind is float:
        pieces.append(b"f" + FLOAT.pack(value))
    elif kind is str:
        put_bytes(b"s", value.encode("utf-8", "surrogatepass"), pieces)
    elif kind is bytes:
        put_bytes(b"b", value, pieces)
    elif kind in (list, tuple):
        pieces.append((b"l" if kind is list else b"t") + SIZE.pack(len(value)))
        for item in value:
            put(item, pieces, depth + 1)
    elif kind is dict:
        if len(value) > MAX_ENTRIES:
            raise WireError(f"the dictionary has more than {MAX_ENTRIES:,} entries")
        pieces.append(b"d" + SIZE.pack(len(value)))
        for key, item in value.items():
            put(key, pieces, depth + 1)
            put(item, pieces, depth + 1)
    elif isinstance(value, np.ndarray | np.generic):
        put_array(np.asarray(value), pieces)
    elif kind in STAND_INS:
        pieces.append(b"o" + bytes([STAND_INS.index(kind)]))
        put(tuple(getattr(value, field.name) for field in fields(value)), pieces, depth + 1)
    else:
        raise WireError(f"a value of type {kind.__name__} may not travel")


def put_bytes(letter: bytes, content: bytes, pieces: list[bytes]) -> None:
    """Append a letter, a length and a content."""
    pieces.append(letter + SIZE.pack(len(content)))
    pieces.append(content)


def put_array(array: np.ndarray, pieces: list[bytes]) -> None:
    """Append an array of numbers: index of its dtype, axes, sizes, content."""
    if array.dtype.name not in DTYPES:
        raise WireError(f"an array of {array.dtype} may not travel: use whole or decimal numbers")
    if array.ndim > MAX_AXES:
        raise WireError(f"the array has more than {MAX_AXES} axes")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    pieces.append(b"a" + bytes([DTYPES.index(array.dtype.name), array.ndim]))
    pieces += [SIZE.pack(n) for n in array.shape]
    pieces.append(little.tobytes())


def decode(message: bytes, from_scorer: bool = False) -> object:
    """Return the value that bytes stand for; nothing in them is trusted.

    Args:
        message: bytes that `encode` made.
        from_scorer: read the values of `STAND_INS` as well, which no learner sends.

    Raises:
        WireError: for bytes that `encode` can't have made.

    >>> decode(b"?")
    Traceback (most recent call last):
    ...
    utils.grading.wire.WireError: there is no type b'?'
    """
    limit = MAX_BYTES if from_scorer else MAX_REPLY
    if len(message) > limit:
        raise WireError(f"the message has more than {limit:,} bytes")
    reader = Reader(message, from_scorer)
    value = reader.value(0)
    if reader.place != len(message):
        raise WireError("bytes follow the value")
    return value


class Reader:
    """Reads one message from its beginning to its end."""

    def __init__(self, message: bytes, from_scorer: bool):
        self.message, self.place, self.items, self.entries = message, 0, 0, 0
        self.from_scorer = from_scorer
        self.by_hash: dict[int, int | tuple | list] = {}

    def take(self, n: int) -> bytes:
        """Return the next n bytes."""
        piece = self.message[self.place : self.place + n]
        if len(piece) != n:
            raise WireError("the message ends too early")
        self.place += n
        return piece

    def size(self) -> int:
        """Return the next length; there must be as many bytes left."""
        (n,) = SIZE.unpack(self.take(SIZE.size))
        if n > len(self.message) - self.place:
            raise WireError("a length goes beyond the message")
        return n

    def value(self, depth: int) -> object:
        """Return the next value."""
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        letter = self.take(1)
        if letter in b"NTF":
            return {b"N": None, b"T": True, b"F": False}[letter]
        if letter == b"f":
            return FLOAT.unpack(self.take(FLOAT.size))[0]
        if letter == b"a":
            return self.array()
        if letter in b"isb":
            return self.scalar(letter, self.take(self.size()))
        if letter == b"o" and self.from_scorer:
            return STAND_INS[self.take(1)[0]](*self.value(depth + 1))
        if letter not in b"ltd":
            raise WireError(f"there is no type {letter!r}")
        n = self.size()
        self.items += n
        limit = MAX_ITEMS if self.from_scorer else MAX_REPLY_ITEMS
        if self.items > limit:
            raise WireError(f"the message holds more than {limit:,} items")
        if letter == b"d":
            return self.dictionary(n, depth)
        items = [self.value(depth + 1) for _ in range(n)]
        return items if letter == b"l" else self.counted(tuple(items))

    def counted(self, value: int | tuple) -> int | tuple:
        """Return a whole number or a tuple, refused where too many others have its hash.

        Such values can be made at will, and any set or dictionary that is built of them anywhere
        later takes the square of their number. Hashes of texts and bytes can't be foreseen.
        """
        try:
            known = self.by_hash.setdefault(hash(value), value)
        except TypeError:
            return value  # it holds a list or an array, and can't be a key
        if known is value or (type(known) is not list and known == value):
            return value
        if type(known) is not list:
            known = self.by_hash[hash(value)] = [known]
        if value not in known:
            known.append(value)
            if len(known) > MAX_EQUAL_HASHES:
                raise WireError("the message is made of values that slow dictionaries down")
        return value

    def scalar(self, letter: bytes, content: bytes) -> int | str | bytes:
        """Return a whole number, a text or bytes."""
        if letter == b"b":
            return content
        try:
            if letter == b"s":
                if len(content) > MAX_REPLY_TEXT and not self.from_scorer:
                    raise WireError(f"a text has more than {MAX_REPLY_TEXT:,} bytes")
                return content.decode("utf-8", "surrogatepass")
            if len(content) > MAX_INT_BITS // 3 or not content.lstrip(b"-").isdigit():
                raise WireError("a whole number is malformed")
            number = int(content)
            return number if abs(number) < HASH_MODULUS else self.counted(number)
        except WireError:
            raise
        except ValueError as error:
            raise WireError(f"a text or number is malformed ({type(error).__name__})") from None

    def dictionary(self, n: int, depth: int) -> dict:
        """Return a dictionary of n entries."""
        self.entries += n
        if self.entries > MAX_ENTRIES:
            raise WireError(f"the message's dictionaries have more than {MAX_ENTRIES:,} entries")
        result = {}
        for _ in range(n):
            key = self.value(depth + 1)
            try:
                result[key] = self.value(depth + 1)
            except TypeError:
                raise WireError("a key of a dictionary is a list, an array or the like") from None
        return result

    def array(self) -> np.ndarray:
        """Return an array of numbers, a copy of its own."""
        index, n_axes = self.take(2)
        if index >= len(DTYPES) or n_axes > MAX_AXES:
            raise WireError("an array has an unknown dtype or too many axes")
        dtype = np.dtype(DTYPES[index]).newbyteorder("<")
        shape = [SIZE.unpack(self.take(SIZE.size))[0] for _ in range(n_axes)]
        n_numbers = 1
        for n in shape:
            n_numbers *= n
        if any(n >= 1 << 40 for n in shape) or n_numbers * dtype.itemsize > MAX_BYTES:
            raise WireError("an array is larger than a message may be")
        content = np.frombuffer(self.take(n_numbers * dtype.itemsize), dtype=dtype)
        if DTYPES[index] == "bool":
            content = content.view(np.uint8) != 0  # a byte of 2 would be neither True nor False
        return content.reshape(shape).astype(DTYPES[index], copy=True)
