"""Values of all kinds that users pass around, and what it means that one arrived as it was."""

import array
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

PLAIN_DTYPES = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(endianness="?"),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
    npst.byte_string_dtypes(min_len=1, max_len=8),
    npst.unicode_string_dtypes(min_len=1, max_len=4),
    npst.array_dtypes(npst.integer_dtypes(), max_size=3),
)
DTYPES = st.one_of(
    PLAIN_DTYPES,
    st.builds(
        lambda first, second, align: np.dtype([("a", first), ("b", second, (2,))], align=align),
        npst.integer_dtypes(),
        npst.floating_dtypes(),
        st.booleans(),
    ),
)


@st.composite
def arrays(draw: Any) -> np.ndarray:
    """Any dtype, order and stride, from empty to larger than what leaves a pickle; made from bytes, not drawn."""
    dtype = draw(DTYPES)
    shape = draw(
        st.one_of(
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            st.sampled_from([(70_000,), (300, 300), (50, 20, 80)]),
        )
    )
    count = int(np.prod(shape, dtype=int)) * dtype.itemsize
    seed = draw(st.integers(0, 255))
    raw = (np.arange(count, dtype=np.uint64) * 31 + seed).astype(np.uint8)
    if dtype.kind == "b":
        raw &= 1
    elif dtype.kind == "U":
        raw = np.full(count // 4, 65 + seed % 26, np.uint32).view(np.uint8)
    made = np.ndarray(shape, dtype, raw.tobytes() or b"\0" * dtype.itemsize).copy()
    how = draw(st.sampled_from(["as it is", "Fortran", "strided", "reversed", "transposed", "read only", "broadcast"]))
    if made.ndim and how == "strided":
        return made[::2]
    if made.ndim and how == "reversed":
        return made[::-1]
    if how == "Fortran":
        return np.asfortranarray(made)
    if how == "transposed":
        return made.T
    if how == "broadcast" and made.size < 1000:
        return np.broadcast_to(made, (3, *made.shape))
    if how == "read only":
        made.setflags(write=False)
    return made


LARGE_BYTES = st.builds(
    lambda size, seed: bytes([seed]) * size, st.sampled_from([0, 70_000, 200_000]), st.integers(0, 255)
)
LEAVES = st.one_of(
    arrays(),
    LARGE_BYTES,
    LARGE_BYTES.map(bytearray),
    LARGE_BYTES.map(lambda data: array.array("B", data)),
    st.integers(),
    st.text(max_size=5),
    st.none(),
    st.builds(lambda size: np.array([{"n": size}, None, "x"], dtype=object), st.integers(0, 9)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        inner.map(lambda value: [value, value]),
    ),
    max_leaves=6,
)


def assert_arrived(sent: Any, got: Any, *, writable: bool = True) -> None:
    """Bit for bit, with the same types, and every array and buffer writable."""
    assert type(got) is type(sent)
    if isinstance(sent, np.ndarray):
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        if sent.dtype.hasobject:
            assert got.tolist() == sent.tolist()
        else:
            assert _bytes_of(got) == _bytes_of(sent)
            assert got.flags.f_contiguous == sent.flags.f_contiguous or not sent.flags.forc
        assert got.flags.writeable is writable
        if writable and got.size and not got.dtype.hasobject:
            got.view(np.ndarray)[...] = got[...]
    elif isinstance(sent, dict):
        assert list(sent) == list(got)
        for key in sent:
            assert_arrived(sent[key], got[key], writable=writable)
    elif isinstance(sent, (list, tuple)):
        assert len(sent) == len(got)
        for one, other in zip(sent, got, strict=True):
            assert_arrived(one, other, writable=writable)
        if len(sent) == 2 and sent[0] is sent[1] and isinstance(sent[0], (np.ndarray, bytearray, list)):
            assert got[0] is got[1]
    else:
        assert got == sent


def _bytes_of(values: np.ndarray) -> list[bytes]:
    """Without what lies between the fields of a structure, which is nobody's."""
    names = values.dtype.names
    return [values.tobytes()] if names is None else [values[name].tobytes() for name in names]
