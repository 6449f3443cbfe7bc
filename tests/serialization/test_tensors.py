"""Tensors of PyTorch, where it is installed: plain ones leave the pickle, others go PyTorch's own way."""

import pickle
from multiprocessing import resource_sharer

import pytest

from distpool.serialization.buffers import Parts, standard_parts
from distpool.serialization.pickling import standard_dumps

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (7,), (300, 400), (2, 3, 4)])
def test_a_plain_tensor_arrives_as_a_copy_of_its_own(dtype, shape):
    sent = torch.ones(shape, dtype=getattr(torch, dtype))
    got = pickle.loads(standard_dumps(sent))
    assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
    assert torch.equal(got, sent)
    assert not sent.is_shared()
    got.zero_()
    assert sent.flatten()[0] == 1


def test_a_large_one_leaves_the_pickle():
    parts = standard_parts([torch.ones(100_000), torch.ones(300, 400).t()])
    assert isinstance(parts, Parts)
    assert [buffer.nbytes for buffer in parts.buffers] == [400_000, 480_000]
    got = pickle.loads(b"".join(parts.stream), buffers=[bytearray(buffer) for buffer in parts.buffers])
    assert got[1].shape == (400, 300)


def test_whether_it_wants_a_gradient_travels():
    got = pickle.loads(standard_dumps(torch.ones(5).requires_grad_()))
    assert got.requires_grad
    assert got.is_leaf


def test_what_is_shared_stays_shared():
    sent = torch.ones(50_000).share_memory_()
    try:
        assert not isinstance(standard_parts(sent), Parts)
    finally:
        resource_sharer.stop()  # a thread of the standard library's, which PyTorch has started
