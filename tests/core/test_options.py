from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from shoal.core.options import ActorOptions, CallOptions, TaskOptions, check_returns

INT_OR_NONE = re.escape(f"must be {(int, type(None))}, but received type {float}")


@pytest.mark.parametrize("options", [TaskOptions, ActorOptions, CallOptions])
def test_an_unknown_option_is_named_with_near_matches(options: Any) -> None:
    with pytest.raises(ValueError, match=r"Invalid option keyword max_retrys for .*Valid ones are \["):
        options.from_keywords(max_retrys=1)
    with pytest.raises(ValueError, match="Did you mean 'max_task_retries'|Did you mean 'max_retries'"):
        options.from_keywords(max_task_retrie=1)


@pytest.mark.parametrize(
    ("options", "keyword"),
    [
        (TaskOptions, "max_retries"),
        (TaskOptions, "max_calls"),
        (ActorOptions, "max_restarts"),
        (ActorOptions, "max_task_retries"),
        (ActorOptions, "max_concurrency"),
        (ActorOptions, "max_pending_calls"),
        (CallOptions, "max_task_retries"),
    ],
)
def test_counts_must_be_integers(options: Any, keyword: str) -> None:
    with pytest.raises(TypeError, match=f"The type of keyword '{keyword}' {INT_OR_NONE}"):
        options.from_keywords(**{keyword: 0.5})


@pytest.mark.parametrize("keyword", ["max_retries"])
def test_counts_with_infinity_accept_minus_one_only(keyword: str) -> None:
    assert getattr(TaskOptions.from_keywords(**{keyword: -1}), keyword) == -1
    with pytest.raises(ValueError, match="only accepts None, 0, -1 or a positive integer, where -1 represents infinity"):
        TaskOptions.from_keywords(**{keyword: -2})


def test_max_calls_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="The keyword 'max_calls' only accepts None, 0 or a positive integer"):
        TaskOptions.from_keywords(max_calls=-1)


@pytest.mark.parametrize("keyword", ["num_cpus", "num_gpus", "memory"])
@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (-1, ValueError, "must be >= 0, but got {0}=-1"),
        (0.00001, ValueError, "The precision of the fractional quantity of resource {0} cannot go beyond 0.0001"),
        (float("nan"), ValueError, "finite"),
        (float("inf"), ValueError, "finite"),
        ("1", TypeError, "The type of keyword '{0}'"),
    ],
)
@pytest.mark.parametrize("options", [TaskOptions, ActorOptions])
def test_quantities(options: Any, keyword: str, value: object, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=re.escape(reason.format(keyword))):
        options.from_keywords(**{keyword: value})


def test_gpus_above_one_must_be_whole() -> None:
    assert TaskOptions.from_keywords(num_gpus=0.5).num_gpus == 0.5
    with pytest.raises(ValueError, match="num_gpus must be a whole number when it is above 1, but got num_gpus=1.5"):
        TaskOptions.from_keywords(num_gpus=1.5)
    with pytest.raises(ValueError, match="TPU must be a whole number"):
        TaskOptions.from_keywords(resources={"TPU": 2.5})


@pytest.mark.parametrize(
    ("resources", "error", "reason"),
    [
        ({"CPU": 1}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ({"GPU": 1}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ({"memory": 1}, ValueError, "reserved"),
        ({"a": -1}, ValueError, "cannot be negative"),
        ({"a": 0.0000001}, ValueError, "The precision of the fractional quantity of resource a"),
        ({"a": "x"}, TypeError, "'a'"),
        ({"a": None}, TypeError, "must be a number"),
        ({1: 1}, TypeError, "non-empty strings"),
        ([], TypeError, "resources"),
    ],
)
def test_custom_resources(resources: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        TaskOptions.from_keywords(resources=resources)


def test_store_memory_of_an_actor_is_reserved_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="'object_store_memory' for actors is deprecated"):
        options = ActorOptions.from_keywords(object_store_memory=100)
    assert options.placement_request() == {"CPU": 1.0, "object_store_memory": 100.0}


def test_store_memory_is_no_option_of_tasks() -> None:
    with pytest.raises(ValueError, match="'object_store_memory'.* not supported"):
        TaskOptions.from_keywords(object_store_memory=100)


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"num_returns": -1}, ValueError, "num_returns must be >= 0, but got -1"),
        ({"num_returns": "stream"}, ValueError, "'streaming' or 'dynamic'"),
        ({"num_returns": 1.5}, TypeError, "num_returns"),
        ({"retry_exceptions": [1]}, ValueError, "boolean or a list of exceptions"),
        ({"retry_exceptions": 1}, TypeError, "retry_exceptions"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "backpressure_num_objects=0 is not allowed"),
        ({"_generator_backpressure_num_objects": -3}, ValueError, "must be > 0 or -1"),
        ({"scheduling_strategy": "spread"}, ValueError, "Invalid scheduling strategy 'spread'"),
        ({"scheduling_strategy": 3}, TypeError, "scheduling_strategy"),
        ({"label_selector": {"a": "in("}}, ValueError, "Invalid label selector value"),
        ({"fallback_strategy": [{}]}, ValueError, "Empty dictionary"),
        ({"runtime_env": "x"}, TypeError, "runtime_env"),
        ({"runtime_env": {"working_dir": "."}}, ValueError, "not a valid URI"),
        ({"enable_task_events": None}, TypeError, "enable_task_events"),
        ({"name": 3}, TypeError, "name"),
        ({"accelerator_type": 3}, TypeError, "accelerator_type"),
        ({"_labels": {"a b": "c"}}, ValueError, "Invalid label key"),
    ],
)
def test_bad_task_options(keywords: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        TaskOptions.from_keywords(**keywords)


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"lifetime": "forever"}, ValueError, "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'"),
        ({"name": ""}, ValueError, "Actor name cannot be an empty string"),
        ({"name": 3}, TypeError, "name must be None or a string"),
        ({"namespace": ""}, ValueError, '"" is not a valid namespace'),
        ({"namespace": 3}, TypeError, "namespace must be None or a string"),
        ({"get_if_exists": True}, ValueError, "The actor name must be specified to use `get_if_exists`"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency must be >= 1"),
        ({"concurrency_groups": {"io": 0}}, ValueError, "'io' must be >= 1"),
        ({"concurrency_groups": {"io": "2"}}, TypeError, "'io' must be an integer"),
        ({"enable_tensor_transport": True}, ValueError, "not supported"),
        ({"_actor_generator_backpressure_num_objects": 0}, ValueError, "=0 is not allowed"),
        ({"max_retries": 3}, ValueError, "Invalid option keyword max_retries for actors"),
    ],
)
def test_bad_actor_options(keywords: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        ActorOptions.from_keywords(**keywords)


def test_other_tensor_transports_are_refused() -> None:
    assert CallOptions.from_keywords(tensor_transport="object_store").tensor_transport is None
    with pytest.raises(ValueError, match="Invalid tensor transport 'nccl'"):
        CallOptions.from_keywords(tensor_transport="nccl")


def test_names_and_labels_belong_to_calls_not_to_methods() -> None:
    with pytest.raises(ValueError, match="Invalid option keyword name"):
        CallOptions.from_keywords(name="x")
    assert CallOptions().merged(name="x", _labels={"a": "b"}).labels == {"a": "b"}


def test_merging_never_changes_the_original() -> None:
    original = TaskOptions.from_keywords(num_cpus=2, max_retries=5)
    merged = original.merged(num_cpus=3)
    assert (original.num_cpus, merged.num_cpus, merged.max_retries) == (2, 3, 5)
    with pytest.raises(AttributeError, match="does not change"):
        original.num_cpus = 9  # type: ignore[misc]


def test_what_belongs_to_the_decorator_is_refused_in_options() -> None:
    with pytest.raises(ValueError, match=re.escape("Setting 'max_calls' is not supported in '.options()'.")):
        TaskOptions().merged(max_calls=1)
    with pytest.raises(ValueError, match=re.escape("Setting 'concurrency_groups' is not supported in '.options()'.")):
        ActorOptions().merged(concurrency_groups={})


def test_gpus_of_the_decorator_end_a_worker_after_one_call_those_of_options_do_not() -> None:
    assert TaskOptions.from_keywords(num_gpus=1).call_limit == 1
    assert TaskOptions.from_keywords(num_gpus=1).merged(num_gpus=2).call_limit == 1
    assert TaskOptions().merged(num_gpus=1).call_limit == 0
    assert TaskOptions.from_keywords(num_gpus=1, max_calls=0).call_limit == 0


def test_a_task_asks_for_one_cpu_by_default() -> None:
    assert TaskOptions().resource_request() == {"CPU": 1.0}
    assert TaskOptions.from_keywords(num_cpus=0).resource_request() == {}
    full = TaskOptions.from_keywords(num_cpus=0.5, num_gpus=1, memory=10.7, resources={"a": 2}, accelerator_type="T4")
    assert full.resource_request() == {"CPU": 0.5, "GPU": 1.0, "memory": 10.0, "a": 2.0, "accelerator_type:T4": 0.001}


@pytest.mark.parametrize(
    ("keywords", "placement", "running"),
    [
        ({}, {"CPU": 1.0}, {}),
        ({"memory": 5}, {"CPU": 1.0, "memory": 5.0}, {"memory": 5.0}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 2}, {"CPU": 2.0}, {"CPU": 2.0}),
        ({"num_gpus": 1}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}),
        ({"resources": {"a": 1}}, {"CPU": 1.0, "a": 1.0}, {"CPU": 1.0, "a": 1.0}),
        ({"resources": {"a": 1}, "num_cpus": 0}, {"a": 1.0}, {"a": 1.0}),
    ],
)
def test_an_actor_needs_a_cpu_to_start_but_holds_one_only_when_it_asked(
    keywords: dict[str, Any], placement: dict[str, float], running: dict[str, float]
) -> None:
    options = ActorOptions.from_keywords(**keywords)
    assert options.placement_request() == placement
    assert options.running_request() == running == options.resource_request()


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TASK_MAX_RETRIES", raising=False)
    task = TaskOptions()
    assert (task.retry_limit, task.retried_exceptions, task.backpressure, task.call_limit) == (3, False, -1, 0)
    assert (task.returns(False), task.returns(True)) == (1, "streaming")
    actor = ActorOptions()
    assert (actor.restart_limit, actor.pending_limit, actor.actor_backpressure, actor.is_detached) == (0, -1, -1, False)
    assert (actor.concurrency(False), actor.concurrency(True)) == (1, 1000)
    assert (actor.in_order(False), actor.in_order(True)) == (True, False)


def test_the_environment_sets_the_default_of_max_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert TaskOptions().retry_limit == 7
    assert TaskOptions.from_keywords(max_retries=0).retry_limit == 0


def test_retries_of_a_call_come_from_the_call_then_the_method_then_the_actor() -> None:
    actor = ActorOptions.from_keywords(max_task_retries=1)
    method = CallOptions.from_keywords(max_task_retries=2)
    assert CallOptions().retry_limit(actor) == 1
    assert method.retry_limit(actor) == 2
    assert method.merged(max_task_retries=0).retry_limit(actor) == 0
    assert CallOptions().retry_limit(ActorOptions()) == 0


def test_order_cannot_be_asked_of_a_concurrent_actor() -> None:
    ordered = ActorOptions.from_keywords(allow_out_of_order_execution=False)
    assert ordered.in_order(is_async=False)
    with pytest.raises(ValueError, match="async actors"):
        ordered.in_order(is_async=True)
    with pytest.raises(ValueError, match="multi-threaded actors"):
        ordered.merged(max_concurrency=2).in_order(is_async=False)
    assert not ActorOptions.from_keywords(allow_out_of_order_execution=True).in_order(is_async=False)


def test_streams_need_a_generator() -> None:
    check_returns("streaming", is_generator=True)
    for returns in ("streaming", "dynamic"):
        with pytest.raises(ValueError, match="can only be used with generator functions"):
            check_returns(returns, is_generator=False)


def test_options_pickle_as_what_was_given() -> None:
    options = ActorOptions.from_keywords(num_cpus=2, runtime_env={"env_vars": {"A": "1"}}, name="n")
    assert pickle.loads(pickle.dumps(options)) == options
    assert len(pickle.dumps(CallOptions())) < 100


@pytest.mark.parametrize("options", [TaskOptions, CallOptions])
def test_a_dynamic_generator_is_deprecated(options: Any) -> None:
    with pytest.warns(DeprecationWarning, match="num_returns='streaming'"):
        assert options.from_keywords(num_returns="dynamic").num_returns == "dynamic"
