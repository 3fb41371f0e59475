"""Changes of bytes and of JSON, for files that come from anywhere."""

import json
import os
import time
import tracemalloc

import hypothesis
from hypothesis import strategies as st

# Raise it for a long run: FUZZ_EXAMPLES=20000.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES or 30,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
# Of files of a few kilobytes.
MAX_BYTES = 2**26
MAX_SECONDS = 10

INTEGERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**k for k in (8, 16, 31, 32, 63, 64)]),
    st.integers(),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        INTEGERS,
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["F32", "top", "keras-vqvae2", "\x1b[2J", "x" * 5000]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=5,
)


@st.composite
def changed_bytes(draw, data):
    """Bytes with a few changes: of single ones, or of parts."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 16)))
        kind = draw(st.sampled_from(("flip", "replace", "copy", "cut", "end")))
        if kind == "flip" and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "replace":
            data[start:stop] = draw(st.binary(max_size=16))
        elif kind == "copy":
            data[start:start] = data[start:stop]
        elif kind == "cut":
            del data[start:stop]
        elif kind == "end":
            del data[start:]
    return bytes(data)


@st.composite
def changed_json(draw, value):
    """Text of JSON with a few changes of values, keys or characters."""
    value = [json.loads(json.dumps(value))]
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(value))
        holder, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("set", "set", "delete", "add")))
        if kind == "set":
            holder[key] = draw(VALUES)
        elif kind == "delete" and isinstance(holder, dict):
            holder.pop(key, None)
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=6))] = draw(VALUES)
        else:
            holder.append(draw(VALUES))
    text = json.dumps(value[0] if value else None)
    if draw(st.integers(0, 9)) == 0:
        return draw(changed_bytes(text.encode()))
    if draw(st.integers(0, 9)) == 0:
        depth = draw(st.sampled_from((20, 500, 3000)))
        text = '{"a":' * depth + text + "}" * depth
    return text.encode()


def _places(value):
    """`(holder, key)` of each value of lists and dicts, however deep."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def attempt(parse):
    """What a parser returns, None for a ValueError, its documented error.

    It must not take long, nor much memory, and its message must be short.
    """
    tracemalloc.start()
    start = time.process_time()
    try:
        return parse()
    except ValueError as error:
        assert len(str(error)) < 1000
        return None
    finally:
        assert time.process_time() - start < MAX_SECONDS
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MAX_BYTES
