"""Actor classes: what ``@remote`` makes of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shoal.core import session
from shoal.core.actor_handle import ActorHandle
from shoal.core.binding import bind
from shoal.core.descriptors import ClassSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from shoal.core.options import ActorOptions


class ActorClassInheritanceException(TypeError):
    """An actor class was used as a base class."""


class ActorMetadata(NamedTuple):
    """An actor class in short."""

    class_name: str
    modified_class: type | None
    method_names: tuple[str, ...]


class ActorClass:
    """A class whose ``.remote(...)`` starts an actor. Calling it directly raises TypeError.

    It can't be a base class: inherit from the plain class, and decorate the subclass.
    """

    def __new__(cls, *args: Any) -> Self:
        # ``class Sub(SomeActor)`` makes Python call type(SomeActor)(name, bases, namespace).
        if len(args) == 3 and isinstance(args[1], tuple):
            for base in args[1]:
                if isinstance(base, ActorClass):
                    raise ActorClassInheritanceException(
                        f"Attempted to define subclass '{args[0]}' of actor class '{base._spec.name}'. "
                        "Inheriting from actor classes is not currently supported. Inherit from the plain class "
                        "and make the derived class an actor class (with @remote)."
                    )
        return super().__new__(cls)

    def __init__(self, spec: ClassSpec, options: ActorOptions | None = None) -> None:
        self._spec = spec
        self._options = options or spec.options
        self._check_runnable()
        cls = spec.cls
        self.__module__ = spec.module
        self.__name__ = spec.name
        self.__qualname__ = getattr(cls, "__qualname__", spec.name)
        self.__doc__ = getattr(cls, "__doc__", None)

    @classmethod
    def of(cls, actor_class: type, options: ActorOptions) -> ActorClass:
        return cls(ClassSpec.of(actor_class, options))

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Starts an actor and returns its handle at once; the constructor runs in the actor.

        Raises TypeError when the arguments do not fit the constructor, and ActorAlreadyExistsError (a ValueError) when the
        name is taken and ``get_if_exists`` is not set."""
        engine = session.current_engine()
        self._spec.init_signature.check(self._spec.name, args, kwargs)
        return ActorHandle(engine.create_actor(self._spec, args, kwargs, self._options))

    def options(self, **options: Any) -> ActorClass:
        """The same class with these options laid over its own; this one does not change."""
        return ActorClass(self._spec, self._options.merged(**options))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that makes an actor of this class."""
        return bind(self, args, kwargs)

    def _remote(self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None, **options: Any) -> ActorHandle:
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def _check_runnable(self) -> None:
        # Only asked for its error: an order that the actor can't keep.
        self._options.in_order(self._spec.is_async)

    @property
    def __ray_actor_class__(self) -> type:
        """The class that was decorated."""
        assert self._spec.cls is not None
        return self._spec.cls

    @property
    def __ray_metadata__(self) -> ActorMetadata:
        """What programs ask actor classes about themselves."""
        return ActorMetadata(self._spec.name, self._spec.cls, tuple(self._spec.methods))

    def __getattr__(self, name: str) -> Any:
        # Class attributes, class methods and static methods are used through the actor class as through the class.
        spec: ClassSpec | None = self.__dict__.get("_spec")
        if spec is None or spec.cls is None or name.startswith("__"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(spec.cls, name)

    def __dir__(self) -> list[str]:
        return sorted({"bind", "options", "remote", *self._spec.methods})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self._spec.name}()', use '{self._spec.name}.remote()'."
        )

    def __repr__(self) -> str:
        return f"ActorClass({self._spec.name})"

    def __getstate__(self) -> dict[str, Any]:
        # The spec leaves the class out, and holds what was read from it: the class may be only half restored when this is,
        # for its methods may name this object.
        return {**self.__dict__, "_class": self._spec.cls}

    def __setstate__(self, state: dict[str, Any]) -> None:
        actor_class = state.pop("_class")
        self.__dict__.update(state, _spec=state["_spec"].replaced(cls=actor_class))
