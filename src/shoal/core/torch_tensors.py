"""Tensors of torch in CPU memory: pickled as their bytes, so that one copy brings them into the object store, none out.

A tensor can be written into, and nothing can forbid it. So a large one that comes out of the store lies on pages that are
shared until they are written: what is changed is this process's own, as with any copy.
"""

from __future__ import annotations

import pickle
from typing import Any

from shoal import _kernel

BYTES_MIN = 4096
"""Smaller tensors are left to torch's own pickling."""

_SHARED_BYTES_MIN = 256 * 1024  # below, a copy is faster than a mapping


def is_tensor(value: Any) -> bool:
    """Whether it is a plain tensor of torch. Does not import torch."""
    cls = type(value)
    return cls.__name__ == "Tensor" and cls.__module__ == "torch"


def reduce(tensor: Any) -> tuple[Any, ...] | None:
    """As ``__reduce__``; None for what torch has to pickle itself: small, not dense, not on the CPU, with state of its own."""
    import torch

    plain = (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and tensor.is_leaf
        and tensor.numel() * tensor.element_size() >= BYTES_MIN
        and tensor.is_contiguous()
        and not vars(tensor)
        and not tensor._backward_hooks
    )
    if not plain:
        return None
    try:
        data = tensor.detach().reshape(-1).view(torch.uint8).numpy()
    except RuntimeError:  # torch without numpy, or a tensor of a transformation that has no memory of its own
        return None
    return _restore, (pickle.PickleBuffer(data), tensor.dtype, tuple(tensor.shape), tensor.requires_grad)


def _restore(data: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Any:
    import torch

    view = memoryview(data)
    own = _kernel.private_view(data) if view.nbytes >= _SHARED_BYTES_MIN and _kernel.attached() else None
    tensor = torch.frombuffer(bytearray(view) if own is None else own, dtype=torch.uint8).view(dtype).reshape(shape)
    return tensor.requires_grad_() if requires_grad else tensor
