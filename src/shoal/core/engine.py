"""The contract between the public API and whatever runs the work.

The native engine (``shoal.core.native``) is the default; another one maps the same calls onto an existing cluster. Everything
above this line (options, handles, validation) is shared by all engines; everything below is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from shoal._kernel import ObjectRef
from shoal.core.descriptors import ClassSpec, FunctionSpec, MethodSpec
from shoal.core.options import ActorOptions, CallOptions, TaskOptions

Submitter = Callable[..., Any]
"""``submitter(*args, **kwargs)`` starts one execution and returns what ``.remote()`` returns: an ObjectRef, a list of them
(num_returns > 1), None (num_returns=0) or an ObjectRefGenerator (streaming)."""


class ActorState(Protocol):
    """An engine's own record of one actor; handles carry it. Counted: the actor ends when the last one is gone."""

    actor_id: bytes  # 16 bytes
    spec: ClassSpec  # ``spec.cls`` is None in a process that only received the handle
    options: ActorOptions


OwnActorState = Any
"""An ActorState that this same engine made: an engine is never given another's."""


@runtime_checkable
class Engine(Protocol):
    """What runs tasks, actors and objects. Every method may be called from any thread."""

    namespace: str
    job_id: bytes  # 4 bytes

    # -- work
    def task_submitter(self, function: FunctionSpec, options: TaskOptions) -> Submitter:
        """A callable that submits ``function`` under ``options``; arguments are checked against ``function.signature``.

        Raises at once for what can be known now (an infeasible placement-group bundle, a bad runtime_env)."""

    def create_actor(self, spec: ClassSpec, args: tuple[Any, ...], kwargs: dict[str, Any], options: ActorOptions) -> ActorState:
        """Starts an actor. Raises ActorAlreadyExistsError when ``options.name`` is taken (unless ``get_if_exists``)."""

    def method_submitter(self, actor: OwnActorState, method: MethodSpec, options: CallOptions) -> Submitter:
        """A callable that calls ``method``; calls made through all submitters of one process keep their order."""

    # -- objects
    def put(self, value: Any) -> ObjectRef: ...
    def get(self, refs: Sequence[ObjectRef], timeout_s: float | None) -> list[Any]: ...
    def wait(
        self, refs: Sequence[Any], num_returns: int, timeout_s: float | None, fetch_local: bool
    ) -> tuple[list[Any], list[Any]]: ...
    def free(self, refs: Sequence[ObjectRef]) -> None: ...

    # -- ending work
    def cancel(self, ref: Any, force: bool, recursive: bool) -> None: ...
    def kill_actor(self, actor: OwnActorState, no_restart: bool) -> None: ...

    # -- actors by name
    def named_actor(self, name: str, namespace: str | None) -> ActorState:
        """Raises ValueError when no live actor has that name."""

    def list_named_actors(self, all_namespaces: bool) -> list[Any]: ...
    def export_actor(self, actor: OwnActorState) -> tuple[Any, ...]:
        """What a pickled handle carries. Called while the handle is being pickled."""

    def import_actor(self, exported: tuple[Any, ...]) -> ActorState: ...

    # -- the cluster as the user sees it
    def request(self, kind: str, /, **fields: Any) -> Any:
        """Everything that goes to the node's control plane: placement groups, key-value, nodes, resources, state lists."""

    def runtime_context(self) -> dict[str, Any]:
        """Ids and facts of the code that is asking: job_id, node_id, worker_id, task_id, actor_id, ... (bytes or None)."""

    def shutdown(self) -> None: ...
