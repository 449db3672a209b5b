"""Remote functions: what ``@remote`` makes of a function."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from shoal.core import session
from shoal.core.binding import bind
from shoal.core.descriptors import FunctionSpec
from shoal.core.options import TaskOptions, check_returns

if TYPE_CHECKING:
    from collections.abc import Callable

VARIANTS_MAX = 64


class RemoteFunction:
    """A function whose ``.remote(...)`` starts a task. Calling it directly raises TypeError.

    The first ``.remote`` asks the engine for a submitter and puts it in its own place, as an attribute of this object; until
    the session ends, every later call goes straight there.
    """

    def __init__(self, spec: FunctionSpec, options: TaskOptions | None = None) -> None:
        self._spec = spec
        self._options = options or spec.options
        self._variants: dict[Any, RemoteFunction] = {}
        functools.update_wrapper(self, spec.function, updated=())

    @classmethod
    def of(cls, function: Callable[..., Any], options: TaskOptions) -> RemoteFunction:
        return cls(FunctionSpec.of(function, options))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Starts a task. Returns its reference: a list for ``num_returns`` > 1, None for 0, an ObjectRefGenerator for a stream.

        Raises TypeError when the arguments do not fit the function's signature."""
        submitter = session.current_engine().task_submitter(self._spec, self._options)
        self.__dict__["remote"] = submitter
        session.forget_at_end(self)
        return submitter(*args, **kwargs)

    def options(self, **options: Any) -> RemoteFunction:
        """The same function with these options laid over its own; this one does not change."""
        try:
            key = tuple((name, type(value), value) for name, value in options.items())
            known = self._variants.get(key)
        except TypeError:  # an unhashable value: a dict or a list
            return self._with(options)
        if known is None:
            known = self._with(options)
            if len(self._variants) < VARIANTS_MAX:
                self._variants[key] = known
        return known

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that calls this function."""
        return bind(self, args, kwargs)

    def forget_engine(self) -> None:
        """Forgets the submitter: the session has ended."""
        self.__dict__.pop("remote", None)

    def _remote(self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def _with(self, options: dict[str, Any]) -> RemoteFunction:
        merged = self._options.merged(**options)
        if "num_returns" in options:
            check_returns(merged.num_returns, self._spec.is_generator)
        return RemoteFunction(self._spec, merged)

    @property
    def _function(self) -> Callable[..., Any]:
        return self._spec.function

    @property
    def _function_name(self) -> str:
        return f"{self._spec.module}.{self._spec.name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self._spec.name}()', "
            f"try '{self._spec.name}.remote()'."
        )

    def __repr__(self) -> str:
        return f"RemoteFunction({self._function_name})"

    def __getstate__(self) -> dict[str, Any]:
        # The submitter belongs to this process.
        return {name: value for name, value in self.__dict__.items() if name not in ("remote", "_variants")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _variants={})
