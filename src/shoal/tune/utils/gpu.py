"""Waiting for a GPU that another process is still leaving."""

from __future__ import annotations

import time
from typing import Any

import shoal


def wait_for_gpu(
    gpu_id: int | str | None = None,
    target_util: float = 0.01,
    retry: int = 20,
    delay_s: float = 5,
    gpu_memory_limit: float | None = None,
) -> bool:
    """Waits until the memory of the GPU is used to at most ``target_util``; asks ``retry`` times, every ``delay_s`` seconds.

    ``gpu_id``: an index, a UUID, or None for the first GPU of this process. Raises ValueError for an unknown GPU, RuntimeError
    when it stays in use, ImportError without GPUtil.
    """
    if gpu_memory_limit is not None:
        raise ValueError(f"gpu_memory_limit is gone: use target_util, but got gpu_memory_limit={gpu_memory_limit}")
    try:
        import GPUtil  # type: ignore[import-not-found]
    except ImportError:
        raise ImportError("wait_for_gpu needs GPUtil: pip install gputil") from None
    if gpu_id is None:
        assigned = shoal.get_gpu_ids()
        if not assigned:
            raise RuntimeError("this process has no GPU: ask for one, or name it with gpu_id")
        gpu_id = assigned[0]
    found = _find(GPUtil.getGPUs(), gpu_id)
    for _ in range(int(retry)):
        if found.memoryUtil <= target_util:
            return True
        time.sleep(delay_s)
        found = _find(GPUtil.getGPUs(), gpu_id)
    raise RuntimeError(f"GPU {gpu_id!r} is still in use after {retry} attempts, {delay_s} s apart")


def _find(gpus: list[Any], gpu_id: Any) -> Any:
    if isinstance(gpu_id, str) and gpu_id.isdigit():
        gpu_id = int(gpu_id)
    if not isinstance(gpu_id, (int, str)):
        raise ValueError(f"gpu_id must be an index or a UUID, but got gpu_id={gpu_id!r}")
    for gpu in gpus:
        if gpu_id == (gpu.id if isinstance(gpu_id, int) else gpu.uuid):
            return gpu
    raise ValueError(f"gpu_id must be one of {[(gpu.id, gpu.uuid) for gpu in gpus]}, but got gpu_id={gpu_id!r}")
