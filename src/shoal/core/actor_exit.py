"""Leaving an actor from inside."""

from __future__ import annotations

from typing import NoReturn

from shoal.core import session


class ActorExit(BaseException):
    """The actor wants to end, for good. Workers understand it; user code must let it pass, but the actor ends even if it does
    not."""


class AsyncioActorExit(ActorExit):
    """The same, raised in an async actor's event loop."""


class ActorTerminated(ActorExit):
    """The actor ends when the calls that are under way are done: ``__ray_terminate__``, or its last handle is gone."""


def exit_actor() -> NoReturn:
    """Ends the actor whose method calls this. It is not restarted. Its callers get ActorDiedError, for this call, for those
    that wait and for those that run on other threads.

    Raises TypeError outside of an actor."""
    engine = session.current_session().engine if session.is_initialized() else None  # type: ignore[union-attr]
    facts = engine.runtime_context() if engine else {}
    if not facts.get("actor_id"):
        raise TypeError("exit_actor API is called on a non-actor worker: it ends the actor whose method calls it.")
    assert engine is not None
    engine.request("actor_should_exit")
    raise AsyncioActorExit() if facts.get("is_async_actor") else ActorExit("exit_actor() is called.")
