"""The options of tasks, actors and calls: frozen, checked once, where the user wrote them.

A field that is None was not given. ``from_keywords`` checks what a decorator got, ``merged`` lays the keywords of
``.options()`` over it; neither changes the original. Methods and properties apply the defaults.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.core import option_rules as rules
from shoal.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.option_rules import Rule
    from shoal.core.runtime_env import RuntimeEnv
    from shoal.core.scheduling_strategies import SchedulingStrategy

DEFAULT_MAX_RETRIES = 3
DEFAULT_ASYNC_CONCURRENCY = 1000
ACCELERATOR_SHARE = 0.001

NumReturns = int | str
RetryExceptions = bool | tuple[type[BaseException], ...]

_Options = TypeVar("_Options", bound="_OptionSet")

_PLACEMENT_OPTIONS = ("placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks")
_REMOVED_FROM_TASKS = {"object_store_memory": "Setting 'object_store_memory' is not implemented for tasks"}


class _OptionSet(Record):
    """What the three sets share: construction by keyword, merging and a pickle of only what was given."""

    def given(self) -> dict[str, Any]:
        """The fields that were given."""
        return {name: value for name, value in zip(self.fields, self.values(), strict=True) if value is not None}

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, dict[str, Any]]]:
        return _restore, (type(self), self.given())


class TaskOptions(_OptionSet):
    """How one remote function's tasks run."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] | None = None
    memory: float | None = None
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: tuple[dict[str, str], ...] | None = None
    scheduling_strategy: SchedulingStrategy = None
    runtime_env: RuntimeEnv | None = None
    name: str | None = None
    enable_task_events: bool | None = None
    labels: dict[str, str] | None = None
    num_returns: NumReturns | None = None
    max_retries: int | None = None
    retry_exceptions: RetryExceptions | None = None
    max_calls: int | None = None
    generator_backpressure_num_objects: int | None = None

    @classmethod
    def from_keywords(cls, **keywords: Any) -> TaskOptions:
        """Raises ValueError for an unknown option or a bad value, TypeError for a bad type."""
        return cls(**_checked("remote functions", _TASK_RULES, keywords))

    def merged(self, **keywords: Any) -> TaskOptions:
        """These options with ``keywords`` laid over them. ``max_calls`` belongs to the decorator: ValueError."""
        if "max_calls" in keywords:
            raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
        # A num_gpus given here must not change how often a worker is reused.
        return self.replaced(max_calls=self.call_limit, **_checked("remote functions", _TASK_RULES, keywords))

    def resource_request(self) -> dict[str, float]:
        """What one task holds while it runs; 1 CPU unless told otherwise."""
        return _resource_request(self, default_cpus=1.0)

    def returns(self, is_generator: bool) -> NumReturns:
        """The number of results, ``"streaming"`` or ``"dynamic"``."""
        return _returns(self.num_returns, is_generator)

    @property
    def retry_limit(self) -> int:
        """How often a task is run again; -1 = without limit. ``RAY_TASK_MAX_RETRIES`` sets the default."""
        if self.max_retries is not None:
            return self.max_retries
        return int(os.environ.get("RAY_TASK_MAX_RETRIES", DEFAULT_MAX_RETRIES))

    @property
    def retried_exceptions(self) -> RetryExceptions:
        return self.retry_exceptions or False

    @property
    def call_limit(self) -> int:
        """After how many calls a worker ends; 0 = never. 1 when the decorator asked for GPUs."""
        if self.max_calls is not None:
            return self.max_calls
        return 1 if self.num_gpus else 0

    @property
    def backpressure(self) -> int:
        """How many items of a stream may wait to be taken; -1 = no limit."""
        return -1 if self.generator_backpressure_num_objects is None else self.generator_backpressure_num_objects


class CallOptions(_OptionSet):
    """How one actor method is called: the method's own options, or those of one call."""

    num_returns: NumReturns | None = None
    concurrency_group: str | None = None
    max_task_retries: int | None = None
    retry_exceptions: RetryExceptions | None = None
    enable_task_events: bool | None = None
    tensor_transport: str | None = None
    name: str | None = None
    labels: dict[str, str] | None = None
    generator_backpressure_num_objects: int | None = None

    @classmethod
    def from_keywords(cls, **keywords: Any) -> CallOptions:
        """The options of ``@method(...)``: Raises ValueError for an unknown one or a bad value, TypeError for a bad type."""
        return cls(**_checked("actor methods", _METHOD_RULES, keywords))

    def merged(self, **keywords: Any) -> CallOptions:
        """These options with those of one call (``handle.method.options(...)``) laid over them."""
        return self.replaced(**_checked("actor method calls", _CALL_RULES, keywords))

    def returns(self, is_generator: bool) -> NumReturns:
        """The number of results, ``"streaming"`` or ``"dynamic"``."""
        return _returns(self.num_returns, is_generator)

    def retry_limit(self, actor: ActorOptions) -> int:
        """How often the call is run again; -1 = without limit. The call and method come before the actor."""
        if self.max_task_retries is not None:
            return self.max_task_retries
        return actor.max_task_retries or 0

    def is_told(self, actor: ActorOptions) -> bool:
        """Whether state lists and timelines show the call. The call and method come before the actor."""
        given = actor.enable_task_events if self.enable_task_events is None else self.enable_task_events
        return given is not False

    @property
    def retried_exceptions(self) -> RetryExceptions:
        return self.retry_exceptions or False

    @property
    def backpressure(self) -> int:
        """How many items of a stream may wait to be taken; -1 = no limit."""
        return -1 if self.generator_backpressure_num_objects is None else self.generator_backpressure_num_objects


class ActorOptions(_OptionSet):
    """How one actor is placed, named and run."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] | None = None
    memory: float | None = None
    object_store_memory: float | None = None
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: tuple[dict[str, str], ...] | None = None
    scheduling_strategy: SchedulingStrategy = None
    runtime_env: RuntimeEnv | None = None
    name: str | None = None
    enable_task_events: bool | None = None
    labels: dict[str, str] | None = None
    namespace: str | None = None
    lifetime: str | None = None
    get_if_exists: bool | None = None
    max_restarts: int | None = None
    max_task_retries: int | None = None
    max_concurrency: int | None = None
    concurrency_groups: dict[str, int] | None = None
    max_pending_calls: int | None = None
    allow_out_of_order_execution: bool | None = None
    enable_tensor_transport: bool | None = None
    actor_generator_backpressure_num_objects: int | None = None

    @classmethod
    def from_keywords(cls, **keywords: Any) -> ActorOptions:
        """Raises ValueError for an unknown option or a bad value, TypeError for a bad type."""
        _warn_of_store_memory(keywords)
        return cls(**_checked("actors", _ACTOR_RULES, keywords))._complete()

    def merged(self, **keywords: Any) -> ActorOptions:
        """These options with ``keywords`` laid over them. ``concurrency_groups`` belongs to the decorator: ValueError."""
        if "concurrency_groups" in keywords:
            raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
        _warn_of_store_memory(keywords)
        return self.replaced(**_checked("actors", _ACTOR_RULES, keywords))._complete()

    def placement_request(self) -> dict[str, float]:
        """What must be free on a node for the actor to start there: 1 CPU unless told otherwise."""
        return self._request(default_cpus=1.0)

    def running_request(self) -> dict[str, float]:
        """What the actor holds while it lives: no CPU by default, but 1 when it asked for anything other than memory."""
        asks = any(value is not None for value in (self.num_cpus, self.num_gpus, self.accelerator_type)) or self.resources
        return self._request(default_cpus=1.0 if asks else 0.0)

    def resource_request(self) -> dict[str, float]:
        """The same as ``running_request``."""
        return self.running_request()

    @property
    def restart_limit(self) -> int:
        """How often the actor is restarted; -1 = without limit."""
        return self.max_restarts or 0

    @property
    def pending_limit(self) -> int:
        """How many calls of one handle may be pending; -1 = no limit."""
        return -1 if self.max_pending_calls is None else self.max_pending_calls

    @property
    def is_detached(self) -> bool:
        return self.lifetime == "detached"

    @property
    def actor_backpressure(self) -> int:
        """How many items of all of the actor's streams may wait to be taken; -1 = no limit."""
        given = self.actor_generator_backpressure_num_objects
        return -1 if given is None else given

    def concurrency(self, is_async: bool) -> int:
        """How many calls run at once in the default group."""
        if self.max_concurrency is not None:
            return self.max_concurrency
        return DEFAULT_ASYNC_CONCURRENCY if is_async else 1

    def in_order(self, is_async: bool) -> bool:
        """Whether calls start in the order in which their caller made them.

        Raises ValueError when order was asked of an actor that runs several calls at once."""
        is_concurrent = is_async or self.concurrency(is_async) > 1
        if is_concurrent and self.allow_out_of_order_execution is False:
            kind = "async" if is_async else "multi-threaded"
            raise ValueError(
                f"If you're using {kind} actors, calls can't be executed in order: "
                "allow_out_of_order_execution must be True or None, but got allow_out_of_order_execution=False"
            )
        return not (is_concurrent or self.allow_out_of_order_execution)

    def _request(self, default_cpus: float) -> dict[str, float]:
        store = {"object_store_memory": float(int(self.object_store_memory))} if self.object_store_memory else {}
        return {**_resource_request(self, default_cpus), **store}

    def _complete(self) -> ActorOptions:
        if self.get_if_exists and not self.name:
            raise ValueError("The actor name must be specified to use `get_if_exists`.")
        return self


def check_returns(num_returns: NumReturns | None, is_generator: bool) -> None:
    """Raises ValueError when a stream is asked of a function that does not yield."""
    if num_returns in ("streaming", "dynamic") and not is_generator:
        raise ValueError(
            f"num_returns='{num_returns}' can only be used with generator functions (functions that use 'yield'), "
            "and the decorated function is not one."
        )


def _returns(num_returns: NumReturns | None, is_generator: bool) -> NumReturns:
    if num_returns is None:
        return "streaming" if is_generator else 1
    return num_returns


def _resource_request(options: TaskOptions | ActorOptions, default_cpus: float) -> dict[str, float]:
    request = dict(options.resources or {})
    request["CPU"] = default_cpus if options.num_cpus is None else options.num_cpus
    request["GPU"] = options.num_gpus or 0.0
    request["memory"] = float(int(options.memory or 0))
    if options.accelerator_type is not None:
        request[f"accelerator_type:{options.accelerator_type}"] = ACCELERATOR_SHARE
    return {name: amount for name, amount in request.items() if amount > 0}


def _checked(subject: str, table: dict[str, Rule], keywords: dict[str, Any]) -> dict[str, Any]:
    if not subject.startswith("actor method") and not keywords.keys().isdisjoint(_PLACEMENT_OPTIONS):
        from shoal.core.placement_options import with_scheduling_strategy

        keywords = with_scheduling_strategy(keywords)
    removed = _REMOVED_FROM_TASKS if subject == "remote functions" else {}
    rules.reject_unknown(subject, keywords, table, removed)
    return {name.lstrip("_"): table[name](name, value) for name, value in keywords.items()}


def _warn_of_store_memory(keywords: dict[str, Any]) -> None:
    if keywords.get("object_store_memory"):
        warnings.warn(
            "Setting 'object_store_memory' for actors is deprecated: objects make room for each other by themselves.",
            DeprecationWarning,
            stacklevel=4,
        )


def _restore(cls: Callable[..., _Options], given: dict[str, Any]) -> _Options:
    return cls(**given)


_COMMON_RULES: dict[str, Rule] = {
    "num_cpus": rules.quantity,
    "num_gpus": rules.quantity,
    "resources": rules.resources,
    "memory": rules.quantity,
    "accelerator_type": rules.typed(str, type(None)),
    "label_selector": rules.label_selector,
    "fallback_strategy": rules.fallback_strategy,
    "scheduling_strategy": rules.scheduling_strategy,
    "runtime_env": rules.runtime_env,
    "name": rules.typed(str, type(None)),
    "enable_task_events": rules.typed(bool),
    "_labels": rules.labels,
}
_TASK_RULES: dict[str, Rule] = {
    **_COMMON_RULES,
    "num_returns": rules.num_returns,
    "max_retries": rules.count_or_infinite,
    "retry_exceptions": rules.retry_exceptions,
    "max_calls": rules.count,
    "_generator_backpressure_num_objects": rules.backpressure,
}
_ACTOR_RULES: dict[str, Rule] = {
    **_COMMON_RULES,
    "object_store_memory": rules.quantity,
    "name": rules.actor_name,
    "namespace": rules.namespace,
    "lifetime": rules.lifetime,
    "get_if_exists": rules.typed(bool),
    "max_restarts": rules.count_or_infinite,
    "max_task_retries": rules.count_or_infinite,
    "max_concurrency": rules.positive_count,
    "concurrency_groups": rules.concurrency_groups,
    "max_pending_calls": rules.count_or_infinite,
    "allow_out_of_order_execution": rules.typed(bool, type(None)),
    "enable_tensor_transport": rules.tensor_transport_switch,
    "_actor_generator_backpressure_num_objects": rules.backpressure,
}
_METHOD_RULES: dict[str, Rule] = {
    "num_returns": rules.num_returns,
    "concurrency_group": rules.typed(str, type(None)),
    "max_task_retries": rules.count_or_infinite,
    "retry_exceptions": rules.retry_exceptions,
    "enable_task_events": rules.typed(bool, type(None)),
    "tensor_transport": rules.tensor_transport,
    "_generator_backpressure_num_objects": rules.backpressure,
}
_CALL_RULES: dict[str, Rule] = {**_METHOD_RULES, "name": rules.typed(str, type(None)), "_labels": rules.labels}
