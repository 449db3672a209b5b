"""Handles of actors and their methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.core import session
from shoal.core.binding import bind
from shoal.core.descriptors import BUILT_IN_METHODS, MethodSpec, check_group
from shoal.core.ids import ActorID
from shoal.core.options import CallOptions, check_returns
from shoal.exceptions import ActorHandleNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.engine import ActorState


class ActorHandle:
    """Counts for an actor, and has its methods: ``handle.method.remote(...)``.

    Can be passed to tasks and actors. The actor ends when its last handle is gone. Equal to every handle of the same actor.
    """

    def __init__(self, state: ActorState) -> None:
        self._state = state
        self._session = session.current_session()

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._state.actor_id)

    @property
    def _ray_actor_id(self) -> ActorID:
        return ActorID(self._state.actor_id)

    def __getattr__(self, name: str) -> ActorMethod:
        state: ActorState | None = self.__dict__.get("_state")
        spec = None if state is None else state.spec.method(name)
        if state is None or spec is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        # The method holds the actor's state, never this handle: a cycle would keep the actor alive until a garbage collection.
        method = ActorMethod(state, spec, spec.options, self._session)
        self.__dict__[name] = method
        return method

    def __dir__(self) -> list[str]:
        return sorted(["__init__", *self._state.spec.methods, *BUILT_IN_METHODS])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._state.actor_id == other._state.actor_id

    def __hash__(self) -> int:
        return hash(self._state.actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._state.spec.name}, {self._state.actor_id.hex()})"

    def __reduce__(self) -> tuple[Callable[..., ActorHandle], tuple[Any, ...]]:
        check_session(self._state, self._session)
        return restore_handle, (session.require_engine().export_actor(self._state),)


class ActorMethod:
    """One method of one actor. Calling it directly raises TypeError; ``.remote(...)`` works as that of a RemoteFunction."""

    def __init__(self, state: ActorState, spec: MethodSpec, options: CallOptions, owner: session.Session | None) -> None:
        self._state = state
        self._spec = spec
        self._options = options
        self._session = owner

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the method. Returns a reference: a list for ``num_returns`` > 1, None for 0, an ObjectRefGenerator for a
        stream.

        Raises TypeError when the arguments do not fit, ActorHandleNotFoundError for a handle of an earlier session, and
        PendingCallsLimitExceeded when ``max_pending_calls`` of this handle are open."""
        engine = session.current_engine()
        check_session(self._state, self._session)
        submitter = engine.method_submitter(self._state, self._spec, self._options)
        self.__dict__["remote"] = submitter
        session.forget_at_end(self)
        return submitter(*args, **kwargs)

    def options(self, **options: Any) -> ActorMethod:
        """The same method with these options for its calls."""
        merged = self._options.merged(**options)
        check_returns(merged.num_returns, self._spec.is_generator)
        check_group(merged.concurrency_group, self._state.spec.concurrency_groups, self._state.spec.name)
        return ActorMethod(self._state, self._spec, merged, self._session)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that calls this method."""
        return bind(self, args, kwargs)

    def forget_engine(self) -> None:
        """Forgets the submitter: the session has ended."""
        self.__dict__.pop("remote", None)

    def _remote(self, args: tuple[Any, ...] | None = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        return (self.options(**options) if options else self).remote(*(args or ()), **(kwargs or {}))

    def __dir__(self) -> list[str]:
        return ["bind", "options", "remote"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._spec.name}()', "
            f"try 'object.{self._spec.name}.remote()'."
        )

    def __repr__(self) -> str:
        return f"ActorMethod({self._state.spec.name}.{self._spec.name})"

    def __reduce__(self) -> tuple[Callable[..., ActorMethod], tuple[Any, ...]]:
        check_session(self._state, self._session)
        return _restore_method, (session.require_engine().export_actor(self._state), self._spec, self._options)


def check_session(state: ActorState, owner: session.Session | None) -> None:
    """Raises ActorHandleNotFoundError when the actor belongs to another session than the one that runs."""
    if owner is not session.current_session():
        raise ActorHandleNotFoundError(
            f"ActorHandle objects are not valid across sessions. The handle of actor {state.actor_id.hex()} "
            f"({state.spec.name}) was made in a session that has ended, as after shutdown() and init(). "
            "Make the actor again in this session."
        )


def restore_handle(exported: tuple[Any, ...]) -> ActorHandle:
    """The handle that another process pickled."""
    return ActorHandle(session.current_engine().import_actor(exported))


def _restore_method(exported: tuple[Any, ...], spec: MethodSpec, options: CallOptions) -> ActorMethod:
    state = session.current_engine().import_actor(exported)
    return ActorMethod(state, spec, options, session.current_session())
