"""The joblib backend: batches of joblib's calls run in a pool of actors, and big arguments are stored once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

import shoal
from shoal.util.multiprocessing.pool import Pool

_SHARED_BYTES_MIN = 100 * 1024
"""Arguments from this size on are put once, and each batch gets a reference."""


class RayBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's work in actors. ``ray_remote_args`` are the options of the actors.

    Like joblib's own process backends it shares big arrays, data frames and bytes between calls: they are stored at their first
    use within one ``Parallel`` call, and reach the workers read-only. Changing one while the call runs has no effect.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **backend_kwargs: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **backend_kwargs)
        self._remote_args = ray_remote_args
        self._pool: _SharingPool | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """The processes for ``n_jobs``: None and 1 mean one, -1 all CPUs of the cluster, -2 all but one, ..."""
        if n_jobs == 0:
            raise ValueError("n_jobs must not be 0, but got n_jobs=0")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        if not shoal.is_initialized():
            shoal.init()
        cpus = int(shoal.cluster_resources().get("CPU", 0))
        return max(1, cpus + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> int:
        """Starts the pool. ``ray_remote_args`` here win over those of the constructor.

        joblib turns to threads itself when ``require`` asks for them, and its options for memory-mapped files (``max_nbytes``,
        ``temp_folder``, ...), which come as kwargs, have no meaning here: arguments are shared without files.
        """
        count = self.effective_n_jobs(n_jobs)
        if count == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._pool = _SharingPool(count, self._actor_options(count, ray_remote_args))
        return count

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        if self._pool is None:
            raise RuntimeError("the ray backend must be configured before work is submitted, but it has no pool")
        batch = _SharedBatch(func, self._pool.shared) if hasattr(func, "items") else func
        return self._pool.apply_async(batch, callback=callback, error_callback=callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):
            raise out
        return out

    def start_call(self) -> None:
        if self._pool is not None:
            self._pool.forget_shared()

    def terminate(self) -> None:
        if self._pool is not None:
            self._pool.terminate()
            self._pool.join()
            self._pool.forget_shared()
            self._pool = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kills what runs; with ``ensure_ready`` a new pool is ready afterwards."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel, **self.parallel._backend_kwargs)

    def _actor_options(self, count: int, override: dict[str, Any] | None) -> dict[str, Any]:
        options = dict((self._remote_args if override is None else override) or {})
        if self.inner_max_num_threads is not None:
            runtime_env = dict(options.get("runtime_env") or {})
            threads = {name: str(self.inner_max_num_threads) for name in self.MAX_NUM_THREADS_VARS}
            runtime_env["env_vars"] = {**threads, **runtime_env.get("env_vars", {})}
            options["runtime_env"] = runtime_env
        return options


class _SharingPool(Pool):
    """A pool that remembers, by identity, what it has stored."""

    def __init__(self, processes: int, remote_args: dict[str, Any]) -> None:
        # The objects themselves are kept too: an identity is only theirs while they live.
        self._registry: list[tuple[Any, Any]] = []
        self._refs: dict[int, Any] = {}
        super().__init__(processes, ray_remote_args=remote_args)

    def shared(self, value: Any) -> Any:
        """``value``, or a marker with a ref to it when it is big."""
        if not _is_big(value):
            return value
        ref = self._refs.get(id(value))
        if ref is None:
            ref = self._refs[id(value)] = shoal.put(value)
            self._registry.append((value, ref))
        return _Shared(ref)

    def forget_shared(self) -> None:
        self._refs.clear()
        self._registry.clear()


class _Shared:
    """Where an argument was replaced. A class of its own, because a ref may also be the user's argument."""

    def __init__(self, ref: Any) -> None:
        self.ref = ref


class _SharedBatch:
    """joblib's batch of calls with its big arguments replaced; restores them where it runs."""

    def __init__(self, batch: Any, shared: Callable[[Any], Any]) -> None:
        self._batch = type(batch)(
            [_replace(call, shared) for call in batch.items],
            (batch._backend, batch._n_jobs),
            batch._reducer_callback,
            batch._pickle_cache,
        )

    def __call__(self) -> Any:
        batch = self._batch
        batch.items = [_replace(call, _restored) for call in batch.items]
        return batch()


_JoblibCall = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


def _replace(call: _JoblibCall, change: Callable[[Any], Any]) -> _JoblibCall:
    function, args, kwargs = call
    return function, [change(value) for value in args], {key: change(value) for key, value in kwargs.items()}


def _restored(value: Any) -> Any:
    return shoal.get(value.ref) if isinstance(value, _Shared) else value


def _is_big(value: Any) -> bool:
    # What joblib's memory mapping shares, and values that cannot change: sharing a list would hide later changes to it.
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size >= _SHARED_BYTES_MIN
    if isinstance(value, (bytes, str)) or hasattr(value, "memory_usage"):
        return sys.getsizeof(value) >= _SHARED_BYTES_MIN
    return False
