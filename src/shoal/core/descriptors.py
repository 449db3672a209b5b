"""What an engine is given to run: a function, a class, a method, each with its signature and options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from shoal.core.options import ActorOptions, CallOptions, TaskOptions, check_returns
from shoal.core.record import Record
from shoal.core.signatures import ANYTHING, Signature

if TYPE_CHECKING:
    from collections.abc import Callable

METHOD_OPTIONS_ATTRIBUTE = "__shoal_method_options__"


class FunctionSpec(Record, by_identity=True):
    """A remote function. Compared by identity, so that an engine may keep what it prepared for it."""

    function: Callable[..., Any]
    name: str
    module: str
    is_generator: bool
    signature: Signature
    options: TaskOptions

    @classmethod
    def of(cls, function: Callable[..., Any], options: TaskOptions) -> FunctionSpec:
        """Raises ValueError for an ``async def`` function, and for ``num_returns`` that it cannot give."""
        inner = inspect.unwrap(function)
        if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
            raise ValueError(
                f"'async def' should not be used for remote tasks, but {_name_of(function)} is one. "
                "Wrap it with asyncio.run in a plain function, or make it an actor's method."
            )
        is_generator = inspect.isgeneratorfunction(inner)
        check_returns(options.num_returns, is_generator)
        return cls(
            function=function,
            name=_name_of(function),
            module=getattr(function, "__module__", None) or "",
            is_generator=is_generator,
            signature=Signature.of(function),
            options=options,
        )


class MethodSpec(Record, by_identity=True):
    """One method of an actor, as its callers see it."""

    name: str
    signature: Signature  # without self
    is_generator: bool
    is_async: bool
    options: CallOptions

    def __reduce__(self) -> tuple[type[MethodSpec], tuple[Any, ...]]:
        return type(self), (self.name, self.signature, self.is_generator, self.is_async, self.options)


class ClassSpec(Record, by_identity=True):
    """An actor class. A pickle of it leaves ``cls`` out: handles carry specs, and a handle needs only the methods."""

    cls: type | None
    name: str
    module: str
    is_async: bool
    methods: dict[str, MethodSpec]
    init_signature: Signature
    concurrency_groups: dict[str, int]
    options: ActorOptions

    @classmethod
    def of(cls, actor_class: type, options: ActorOptions) -> ClassSpec:
        """Raises ValueError when a method names a concurrency group that the class does not have."""
        methods = dict(_methods_of(actor_class))
        groups = options.concurrency_groups or {}
        for method in methods.values():
            check_group(method.options.concurrency_group, groups, actor_class.__name__)
        return cls(
            cls=actor_class,
            name=actor_class.__name__,
            module=actor_class.__module__,
            is_async=any(method.is_async for method in methods.values()),
            methods=methods,
            init_signature=_init_signature(actor_class),
            concurrency_groups=dict(groups),
            options=options,
        )

    def method(self, name: str) -> MethodSpec | None:
        """The method's spec, built-in ones included; None when the class has no such method."""
        return self.methods.get(name) or BUILT_IN_METHODS.get(name)

    def without_class(self) -> ClassSpec:
        return self.replaced(cls=None)

    def __reduce__(self) -> tuple[type[ClassSpec], tuple[Any, ...]]:
        return type(self), (
            None,
            self.name,
            self.module,
            self.is_async,
            self.methods,
            self.init_signature,
            self.concurrency_groups,
            self.options,
        )


def check_group(group: str | None, groups: dict[str, int], class_name: str) -> None:
    """Raises ValueError when ``group`` is not one of the actor's concurrency groups."""
    if group is not None and group not in groups:
        raise ValueError(
            f"{class_name} has no concurrency group {group!r}; its groups are {sorted(groups)}. "
            "Groups are given by the decorator: @remote(concurrency_groups={name: limit})"
        )


def _methods_of(actor_class: type) -> list[tuple[str, MethodSpec]]:
    found = []
    for name, member in inspect.getmembers(actor_class, _is_function_or_method):
        if name == "__init__":
            continue
        inner = inspect.unwrap(member)
        is_unbound = not inspect.ismethod(member) and not isinstance(
            inspect.getattr_static(actor_class, name, None), staticmethod
        )
        is_async_generator = inspect.isasyncgenfunction(inner)
        spec = MethodSpec(
            name=name,
            signature=Signature.of(inner if is_unbound else member, skip_first=is_unbound),
            is_generator=is_async_generator or inspect.isgeneratorfunction(inner),
            is_async=is_async_generator or inspect.iscoroutinefunction(inner),
            options=getattr(member, METHOD_OPTIONS_ATTRIBUTE, None) or NO_CALL_OPTIONS,
        )
        check_returns(spec.options.num_returns, spec.is_generator)
        found.append((name, spec))
    return found


def _init_signature(actor_class: Any) -> Signature:
    for name in ("__init__", "__new__"):
        own = getattr(actor_class, name)
        if own is not getattr(object, name):
            return Signature.of(own, skip_first=True)
    return Signature.from_parameters(())


def _is_function_or_method(member: Any) -> bool:
    return inspect.isfunction(member) or inspect.ismethod(member)


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


NO_CALL_OPTIONS = CallOptions()

BUILT_IN_METHODS: dict[str, MethodSpec] = {
    name: MethodSpec(name, signature, is_generator=False, is_async=False, options=NO_CALL_OPTIONS)
    for name, signature in (
        ("__ray_ready__", Signature.from_parameters(())),
        ("__ray_call__", ANYTHING),
        ("__ray_terminate__", Signature.from_parameters(())),
    )
}
"""What every actor answers to besides its own methods; ``shoal.core.actor_builtins`` says what they do."""
