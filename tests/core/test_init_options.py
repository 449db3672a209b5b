from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from shoal.core.init_options import InitOptions
from shoal.core.job_config import JobConfig
from shoal.core.logging_config import LoggingConfig


def test_nothing_given_means_a_private_session() -> None:
    options = InitOptions.from_keywords()
    assert options.starts_cluster and options == InitOptions()


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"inline": 1}, TypeError, "inline"),
        ({"inline": True, "address": "auto"}, ValueError, "joins no session"),
        ({"storage": "s3://x"}, RuntimeError, "storage configuration has been removed"),
        ({"allow_multiple": True}, RuntimeError, "allow_multiple"),
        ({"redis_address": "x"}, RuntimeError, "Unknown keyword argument(s): redis_address"),
        ({"memory": 3}, RuntimeError, "Unknown keyword argument(s): memory"),
        ({"num_cpus": -1}, ValueError, "num_cpus must be >= 0, but got num_cpus=-1"),
        ({"num_cpus": "2"}, TypeError, "num_cpus"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"labels": {"a b": "c"}}, ValueError, "Invalid label key"),
        ({"object_store_memory": 1000}, ValueError, "object_store_memory must be >= 78643200"),
        ({"namespace": ""}, ValueError, "not a valid namespace"),
        ({"namespace": 3}, TypeError, "namespace must be None or a string"),
        ({"address": ""}, ValueError, "address must not be an empty string"),
        ({"runtime_env": 3}, TypeError, "runtime_env"),
        ({"runtime_env": {"pip": ["a"], "conda": "b"}}, ValueError, "cannot be specified at the same time"),
        ({"dashboard_port": 70000}, ValueError, "between 0 and 65535"),
        ({"_temp_dir": "relative"}, ValueError, "must be absolute path"),
        ({"_system_config": 3}, TypeError, "The _system_config must be a dict"),
        ({"logging_config": "JSON"}, TypeError, "logging_config"),
        ({"ignore_reinit_error": 1}, TypeError, "ignore_reinit_error"),
        ({"cgroup_path": "/x"}, ValueError, "when resource isolation is not enabled"),
        ({"enable_resource_isolation": True}, NotImplementedError, "does not support enable_resource_isolation"),
        ({"include_dashboard": 1}, TypeError, "include_dashboard"),
        ({"_redis_password": "x"}, NotImplementedError, "_redis_password"),
        ({"job_config": 3}, TypeError, "job_config"),
    ],
)
def test_bad_arguments(keywords: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=re.escape(reason)):
        InitOptions.from_keywords(**keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"num_cpus": 1},
        {"num_gpus": 1},
        {"resources": {"a": 1}},
        {"labels": {"a": "b"}},
        {"object_store_memory": 10**9},
        {"_system_config": {"a": 1}},
        {"_node_name": "n"},
    ],
)
def test_a_running_cluster_cannot_be_sized(keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(keywords))} must not be provided"):
        InitOptions.from_keywords(address="auto", **keywords)


def test_hidden_keywords_are_taken_without_their_underscore() -> None:
    options = InitOptions.from_keywords(_memory=10, _temp_dir="/t", _node_name="n")
    assert (options.memory, options.temp_dir, options.node_name) == (10, "/t", "n")


@pytest.mark.parametrize("keywords", [{"include_dashboard": True}, {"dashboard_host": "0.0.0.0"}, {"dashboard_port": 8265}])
def test_who_asks_for_a_dashboard_is_told_that_there_is_none(keywords: dict[str, Any]) -> None:
    (name, value), *_ = keywords.items()
    with pytest.warns(UserWarning, match=f"Shoal has no dashboard, so {name}={value!r} starts none: shoal.util.state"):
        assert InitOptions.from_keywords(**keywords) == InitOptions()


def test_who_wants_no_dashboard_hears_nothing(recwarn: pytest.WarningsRecorder) -> None:
    InitOptions.from_keywords(include_dashboard=False, dashboard_host="127.0.0.1", dashboard_port=None)
    assert not recwarn.list


def test_system_config_is_accepted_with_a_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "shoal"):
        assert InitOptions.from_keywords(_system_config={"max_io_workers": 1}).system_config == {"max_io_workers": 1}
    assert "max_io_workers" in caplog.text


def test_the_environment_gives_an_address_unless_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "host:1")
    assert InitOptions.from_keywords().address == "host:1"
    assert InitOptions.from_keywords(address="auto").address == "host:1"
    assert InitOptions.from_keywords(address="local").starts_cluster
    assert InitOptions.from_keywords(address="other:2").address == "other:2"


def test_other_variables_stand_in_for_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_LOG_TO_DRIVER", "0")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_LOGGING_CONFIG_ENCODING", "JSON")
    options = InitOptions.from_keywords()
    assert (options.log_to_driver, options.temp_dir) == (False, str(tmp_path))
    assert options.logging_config is not None and options.logging_config.encoding == "JSON"
    given = InitOptions.from_keywords(log_to_driver=True, logging_config=LoggingConfig())
    assert given.log_to_driver and given.logging_config == LoggingConfig()


def test_an_autoscalers_variables_beat_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 3, "a": 1}')
    monkeypatch.setenv("RAY_OVERRIDE_LABELS", '{"zone": "x"}')
    options = InitOptions.from_keywords(num_cpus=8, resources={"a": 5, "b": 2}, labels={"zone": "y"})
    assert (options.num_cpus, options.resources, options.labels) == (3, {"a": 1, "b": 2}, {"zone": "x"})


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", text)
    with pytest.raises(ValueError, match="RAY_OVERRIDE_RESOURCES must be a JSON object"):
        InitOptions.from_keywords()


def test_a_job_config_gives_namespace_and_environment() -> None:
    job = JobConfig(ray_namespace="ns", runtime_env={"env_vars": {"A": "1"}})
    options = InitOptions.from_keywords(job_config=job)
    assert options.effective_namespace == "ns"
    assert options.effective_runtime_env == {"env_vars": {"A": "1"}}
    assert InitOptions.from_keywords(job_config=job, namespace="own").effective_namespace == "own"
    assert InitOptions().effective_runtime_env is None


def with_variable(given: dict[str, Any] | None) -> dict[str, Any]:
    return {**(given or {}), "env_vars": {"HOOKED": "yes"}}


def test_a_hook_may_change_the_environment_of_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", f"{__name__}.with_variable")
    changed = InitOptions.from_keywords(runtime_env={"working_dir": "/tmp"}).runtime_env
    assert changed is not None and dict(changed) == {"working_dir": "/tmp", "env_vars": {"HOOKED": "yes"}}
    assert InitOptions.from_keywords().runtime_env == {"env_vars": {"HOOKED": "yes"}}
    assert InitOptions.from_keywords(_skip_env_hook=True).runtime_env is None
    monkeypatch.setenv("RAY_RUNTIME_ENV_HOOK", "with_variable")
    with pytest.raises(ValueError, match=r"a function like package.module.name, but got 'with_variable'"):
        InitOptions.from_keywords()


def test_labels_of_the_system_can_be_given_but_for_the_nodes_id() -> None:
    labels = {"ray.io/node-group": "g", "zone": "a"}
    assert InitOptions.from_keywords(labels=labels).labels == labels
    with pytest.warns(UserWarning, match=r"ray\.io/node-id is the node's own"):
        InitOptions.from_keywords(labels={"ray.io/node-id": "mine"})


def test_a_variable_that_changes_nothing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_record_ref_creation_sites", "1")
    with pytest.warns(UserWarning, match="RAY_record_ref_creation_sites=1 changes nothing"):
        InitOptions.from_keywords()
    monkeypatch.setenv("RAY_record_ref_creation_sites", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InitOptions.from_keywords()
