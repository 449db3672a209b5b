"""``@remote`` and ``@method``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from shoal.core.actor_class import ActorClass
from shoal.core.actor_handle import ActorHandle
from shoal.core.descriptors import METHOD_OPTIONS_ATTRIBUTE
from shoal.core.options import ActorOptions, CallOptions, TaskOptions, check_returns
from shoal.core.remote_function import RemoteFunction

_Method = TypeVar("_Method", bound=Callable[..., Any])


def remote(*args: Any, **options: Any) -> Any:
    """Makes a remote function of a function, or an actor class of a class: ``@remote``, or with options
    ``@remote(num_cpus=2)``.

    Raises ValueError for an unknown option, a bad value or an ``async def`` function, and TypeError for a bad type or
    something that is neither a function nor a class."""
    if len(args) == 1 and not options:
        return _make_remote(args[0], {})
    if args or not options:
        raise TypeError(
            "The @remote decorator must be applied either with no arguments and no parentheses, for example '@remote', "
            "or with options as keywords only, for example '@remote(num_returns=2, resources={\"CustomResource\": 1})'."
        )
    return lambda function_or_class: _make_remote(function_or_class, options)


def method(*args: Any, **options: Any) -> Any:
    """Gives a method of an actor class its options: ``@method(num_returns=2, concurrency_group="io")``.

    Raises ValueError for an unknown option or a bad value, TypeError for a bad type."""
    if len(args) == 1 and callable(args[0]) and not options:
        return args[0]
    if args or not options:
        raise TypeError("The @method decorator takes options as keywords only, for example '@method(num_returns=2)'.")
    checked = CallOptions.from_keywords(**options)

    def decorate(function: _Method) -> _Method:
        inner = inspect.unwrap(function)
        check_returns(checked.num_returns, inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner))
        setattr(function, METHOD_OPTIONS_ATTRIBUTE, checked)
        return function

    return decorate


def _make_remote(function_or_class: Any, options: dict[str, Any]) -> RemoteFunction | ActorClass:
    if inspect.isclass(function_or_class):
        return ActorClass.of(function_or_class, ActorOptions.from_keywords(**options))
    if isinstance(function_or_class, (RemoteFunction, ActorClass, ActorHandle)):
        raise TypeError(f"@remote was applied twice: {function_or_class!r} is remote already.")
    if inspect.isfunction(function_or_class) or inspect.isbuiltin(function_or_class) or _is_compiled(function_or_class):
        return RemoteFunction.of(function_or_class, TaskOptions.from_keywords(**options))
    raise TypeError(
        f"The @remote decorator must be applied to either a function or a class, but got {function_or_class!r} "
        f"of type {type(function_or_class)}."
    )


def _is_compiled(value: Any) -> bool:
    """Functions of compilers (Cython, mypyc) are of types of their own."""
    return type(value).__name__ in ("cython_function_or_method", "method_descriptor") or inspect.isroutine(value)
