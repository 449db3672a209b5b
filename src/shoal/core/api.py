"""The functions users call with references and handles: ``get``, ``put``, ``wait``, ``cancel``, ``kill``, ...

They check their arguments and ask the engine. An engine may put faster functions in the place of ``get``, ``put`` and
``wait``, with these behind them for all that is not the common case.
"""

from __future__ import annotations

from typing import Any

from shoal.core import option_rules, session
from shoal.core.actor_handle import ActorHandle, check_session
from shoal.core.generators import ObjectRefGenerator
from shoal.core.object_ref import is_ref


def get(refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a reference, or the list of values of a list of references, waiting for them.

    ``timeout`` is in seconds: None or a negative number waits as long as it takes, 0 only looks. Raises GetTimeoutError (also a
    TimeoutError), the task's own error as soon as one member has failed, and ValueError for anything but a reference or a list
    of them. A stream (ObjectRefGenerator) is returned as it is.

    Results that something else keeps, as a compiled graph does, have a method ``__shoal_get__(timeout)``, which is asked."""
    if isinstance(refs, ObjectRefGenerator):
        return refs
    if hasattr(type(refs), "__shoal_get__"):
        return refs.__shoal_get__(timeout)
    if type(refs) is list and refs and all(hasattr(type(ref), "__shoal_get__") for ref in refs):
        return [ref.__shoal_get__(timeout) for ref in refs]
    timeout_s = _get_timeout(timeout)
    if is_ref(refs):
        return session.current_engine().get([refs], timeout_s)[0]
    if not isinstance(refs, list):
        raise ValueError(
            f"Invalid type of object refs, {type(refs)}, is given. 'refs' must either be an ObjectRef or a list of ObjectRefs."
        )
    for ref in refs:
        if not is_ref(ref):
            if any(hasattr(type(each), "__shoal_get__") for each in refs):
                raise ValueError(f"results of compiled graphs must not be mixed with object references, but got {refs!r}")
            raise TypeError(f"Attempting to call `get` on the value {ref!r}, which is not a shoal.ObjectRef.")
    return session.current_engine().get(refs, timeout_s)


def put(value: Any, *, _owner: Any = None, _tensor_transport: str | None = None) -> Any:
    """Stores an immutable copy of ``value`` and returns its reference.

    Raises TypeError for a reference (wrap it in a list), or a value that can't be pickled, and ObjectStoreFullError when there
    is no room even after spilling."""
    if is_ref(value):
        raise TypeError(
            "Calling 'put' on a shoal.ObjectRef is not allowed. If you really want to do this, "
            "wrap it in a list and call 'put' on that."
        )
    if isinstance(value, ObjectRefGenerator):
        raise TypeError("Calling 'put' on an ObjectRefGenerator is not allowed: put the references it yields.")
    if _owner is not None:
        raise ValueError("The `_owner` argument of `put` has been removed: the process that calls `put` owns the object.")
    option_rules.tensor_transport("_tensor_transport", _tensor_transport)
    return session.current_engine().put(value)


def wait(
    refs: list[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]:
    """Waits until ``num_returns`` of the references are ready, or ``timeout`` seconds have passed: ``(ready, rest)``.

    Both keep the order of ``refs``; ``ready`` has at most ``num_returns`` members. A failed task counts as ready; a stream is
    ready when its next item is. With ``fetch_local=False`` it is enough that the value exists anywhere.

    Raises TypeError for anything but a list of references or streams, ValueError for duplicates, a negative timeout, or a
    ``num_returns`` below 1 or above the number of references."""
    if is_ref(refs) or isinstance(refs, ObjectRefGenerator):
        raise TypeError(f"wait() expected a list of shoal.ObjectRef or shoal.ObjectRefGenerator, got a single one: {refs!r}")
    if not isinstance(refs, list):
        raise TypeError(f"wait() expected a list of shoal.ObjectRef or shoal.ObjectRefGenerator, got {type(refs)}")
    if timeout is not None and timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    for ref in refs:
        if not is_ref(ref) and not isinstance(ref, ObjectRefGenerator):
            raise TypeError(
                f"wait() expected a list of shoal.ObjectRef or shoal.ObjectRefGenerator, got list containing {type(ref)}"
            )
    engine = session.current_engine()
    if not refs:
        return [], []
    if len(refs) != len(set(refs)):
        raise ValueError("Wait requires a list of unique object refs.")
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return: num_returns must be >= 1, but got num_returns={num_returns}")
    if num_returns > len(refs):
        raise ValueError(
            "num_returns cannot be greater than the number of object refs provided to wait: "
            f"got num_returns={num_returns} for {len(refs)} of them"
        )
    return engine.wait(refs, num_returns, timeout, fetch_local)


def cancel(ref: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancels a task or actor call that has not finished; ``get`` then raises TaskCancelledError.

    A queued one never runs. A running task gets KeyboardInterrupt, or with ``force`` its worker is killed; a running call of
    an async actor is cancelled, of another actor only told (``get_runtime_context().is_canceled()``). ``recursive``: the tasks
    it started too.
    Raises TypeError for anything but a reference or stream, and ValueError for ``force`` on an actor call."""
    if not is_ref(ref) and not isinstance(ref, ObjectRefGenerator):
        raise TypeError(f"cancel() only supported for object refs. For actors, try kill(). Got: {type(ref)}.")
    session.current_engine().cancel(ref, force, recursive)


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """Ends an actor's process at once, as SIGKILL does. With ``no_restart=False`` that counts as a crash, so it may be
    restarted.

    Raises ValueError for anything but a handle, and ActorHandleNotFoundError for a handle of an earlier session."""
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"kill() only supported for actors. For tasks, try cancel(). Got: {type(actor)}.")
    engine = session.current_engine()
    check_session(actor._state, actor._session)
    engine.kill_actor(actor._state, no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of the live actor with that name. Raises ValueError when there is none, or for an empty name."""
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, but got name={name!r}")
    option_rules.namespace("namespace", namespace)
    return ActorHandle(session.current_engine().named_actor(name, namespace))


def nodes() -> list[dict[str, Any]]:
    """A dict for each node: NodeID, Alive, addresses, Resources, Labels, ... Raises RaySystemError without a session."""
    return list(session.require_engine().request("nodes"))


def cluster_resources() -> dict[str, float]:
    """The sum of all nodes' resources. Raises RaySystemError without a session."""
    return dict(session.require_engine().request("cluster_resources"))


def available_resources() -> dict[str, float]:
    """What is free now; a resource that is wholly in use is left out. Raises RaySystemError without a session."""
    return dict(session.require_engine().request("available_resources"))


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The session's tasks as a Chrome trace: its list of events, or written to ``filename`` as JSON."""
    events = list(session.require_engine().request("timeline"))
    if filename is None:
        return events
    import json

    with open(filename, "w") as file:
        json.dump(events, file)
    return None


def get_gpu_ids() -> list[int] | list[str]:
    """The GPUs assigned to the running task or actor, as numbers, or as strings when the system names them so. ``[]`` in a
    driver."""
    from shoal.core.runtime_context import assigned

    ids = assigned(session.current_engine().runtime_context()).get("accelerator_ids", {}).get("GPU", [])
    return [int(each) for each in ids] if all(str(each).isdigit() for each in ids) else list(ids)


def _get_timeout(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds or None, but got timeout={timeout!r}")
    return None if timeout < 0 else float(timeout)
