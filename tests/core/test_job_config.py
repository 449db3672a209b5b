from __future__ import annotations

import os

import pytest

from shoal.core.init_options import InitOptions
from shoal.core.job_config import JobConfig


def test_a_job_config_is_checked() -> None:
    with pytest.raises(ValueError, match="default_actor_lifetime must be one of"):
        JobConfig(default_actor_lifetime="forever")
    with pytest.raises(ValueError, match="jvm_options is not supported"):
        JobConfig(jvm_options=["-x"])
    with pytest.raises(TypeError, match="env_vars"):
        JobConfig(runtime_env={"env_vars": {"A": 1}})
    with pytest.raises(ValueError, match="Did you mean 'metadata'"):
        JobConfig.from_json({"metadat": {}})


def test_setters_change_what_they_name() -> None:
    job = JobConfig.from_json({"metadata": {"a": "b"}})
    job.set_metadata("c", "d")
    job.set_ray_namespace("ns")
    job.set_runtime_env({"env_vars": {"A": "1"}})
    job.set_default_actor_lifetime("detached")
    assert job.metadata == {"a": "b", "c": "d"} and job.ray_namespace == "ns"
    assert job.runtime_env == {"env_vars": {"A": "1"}} and job.default_actor_lifetime == "detached"


def test_folders_of_code_are_made_absolute() -> None:
    assert JobConfig(code_search_path=["/a", "b/.."]).code_search_path == ["/a", os.getcwd()]
    with pytest.raises(TypeError, match="list of folders"):
        JobConfig(code_search_path="/a")  # type: ignore[arg-type]


def test_init_takes_the_folders_of_code_from_the_job_config() -> None:
    assert InitOptions.from_keywords(job_config=JobConfig(code_search_path=["/a"])).code_search_path == ["/a"]
    assert InitOptions.from_keywords().code_search_path == []
