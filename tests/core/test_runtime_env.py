from __future__ import annotations

import pickle
import types
from pathlib import Path
from typing import Any

import pytest

from shoal.runtime_env import RuntimeEnv, RuntimeEnvConfig


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"env_var": {}}, ValueError, "has no field 'env_var'"),
        ({"env_vars": []}, TypeError, "Dict\\[str, str\\], got <class 'list'>"),
        ({"env_vars": {"A": 1}}, TypeError, "the value 1 is of type <class 'int'>"),
        ({"env_vars": {1.5: "a"}}, TypeError, "the key 1.5 is of type <class 'float'>"),
        ({"working_dir": 3}, TypeError, "`working_dir` must be a string"),
        ({"working_dir": "/does/not/exist"}, ValueError, "not a valid path"),
        ({"working_dir": "ftp://a/b.zip"}, ValueError, "not a valid URI"),
        ({"working_dir": "s3://bucket/file.txt"}, ValueError, "not a valid URI"),
        ({"py_modules": "x"}, TypeError, "must be a list of strings"),
        ({"py_modules": [3]}, TypeError, "`py_module` must be a string"),
        ({"pip": 3}, TypeError, "runtime_env\\['pip'\\] must be of type str or List"),
        ({"pip": {"packages": ["a"], "other": 1}}, ValueError, "can only have these fields"),
        ({"pip": {"pip_check": True}}, ValueError, "must include field 'packages'"),
        ({"pip": {"packages": ["a"], "pip_check": "no"}}, TypeError, "'pip_check'\\] must be of type bool"),
        ({"pip": {"packages": ["a"], "pip_version": 3}}, TypeError, "'pip_version'\\] must be of type str"),
        ({"pip": "/no/requirements.txt"}, ValueError, "not a valid file"),
        ({"uv": {"packages": 3}}, ValueError, "'packages'\\] must be of type"),
        ({"uv": {"packages": "file.txt"}}, ValueError, "'packages'\\] must be of type list, got: <class 'str'>"),
        ({"uv": {"packages": ["a"], "uv_pip_install_options": "--no-cache"}}, TypeError, "uv_pip_install_options"),
        ({"uv": ["a", 3]}, TypeError, "List\\[str\\]"),
        ({"conda": 3}, TypeError, "runtime_env\\['conda'\\]"),
        ({"conda": "missing.yaml"}, ValueError, "Can't find conda YAML file"),
        ({"conda": "/missing/environment"}, ValueError, "Can't find conda env directory"),
        ({"excludes": "a"}, TypeError, "runtime_env\\['excludes'\\]"),
        ({"py_executable": 3}, TypeError, "py_executable"),
        ({"worker_process_setup_hook": 3}, TypeError, "worker_process_setup_hook"),
        ({"config": 3}, TypeError, "must be of type dict or RuntimeEnvConfig"),
        ({"config": {"timeout": 3}}, ValueError, "does not know \\['timeout'\\]"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "greater than zero or equals to -1, got: 0"),
        ({"config": {"setup_timeout_seconds": "1"}}, TypeError, "setup_timeout_seconds"),
        ({"config": {"eager_install": 1}}, TypeError, "eager_install"),
        ({"config": {"log_files": "a"}}, TypeError, "log_files"),
        ({"pip": ["a"], "conda": "env"}, ValueError, "'pip' field and 'conda' field"),
        ({"pip": ["a"], "uv": ["b"]}, ValueError, "'pip' field and 'uv' field"),
        ({"image_uri": "image", "pip": ["a"]}, ValueError, "goes only with env_vars and config"),
    ],
)
def test_bad_fields(fields: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        RuntimeEnv(**fields)


def test_it_is_a_dict_of_what_was_given(tmp_path: Path) -> None:
    env = RuntimeEnv(env_vars={"A": "1"}, working_dir=str(tmp_path), excludes=["*.log"], pip=None)
    assert env == {"env_vars": {"A": "1"}, "working_dir": str(tmp_path), "excludes": ["*.log"]}
    assert env.working_dir() == str(tmp_path) and env.excludes() == ["*.log"] and env.env_vars() == {"A": "1"}
    assert env.has_working_dir() and not env.has_pip() and env.config()["setup_timeout_seconds"] == 600


def test_packages_are_read_from_lists_files_and_dicts(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a\n\nb\n")
    assert RuntimeEnv(pip=str(requirements)).pip_config() == {"pip_check": False, "packages": ["a", "b"]}
    assert RuntimeEnv(uv=["a", "a"]).uv_config()["packages"] == ["a"]
    assert RuntimeEnv(pip={"packages": ["a"], "pip_check": True}).pip_config()["pip_check"] is True


def test_a_requirements_file_finds_the_files_that_it_names_beside_itself(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a==1\n-r more.txt\n--constraint=/elsewhere/constraints.txt\n-r https://host/file.txt\n")
    assert RuntimeEnv(uv=str(requirements)).uv_config()["packages"] == [
        "a==1",
        f"-r {tmp_path}/more.txt",
        "--constraint /elsewhere/constraints.txt",
        "-r https://host/file.txt",
    ]


def test_fields_set_later_are_checked_too() -> None:
    env = RuntimeEnv(pip=["a"])
    env["pip"] = ["b"]
    env.set("env_vars", {"A": "1"})
    assert env == {"pip": {"pip_check": False, "packages": ["b"]}, "env_vars": {"A": "1"}}
    with pytest.raises(TypeError, match="the value 1 is of type"):
        env["env_vars"] = {"A": 1}
    with pytest.raises(ValueError, match="has no field 'colour'"):
        env.set("colour", "red")


def test_it_can_be_written_and_read() -> None:
    env = RuntimeEnv(pip=["a"], env_vars={"A": "1"})
    assert RuntimeEnv.deserialize(env.serialize()) == env
    env["uv"] = ["b"]
    with pytest.raises(ValueError, match="'pip' field and 'uv' field"):
        env.serialize()


def test_no_packages_are_no_field() -> None:
    assert RuntimeEnv(pip=[]) == {} and RuntimeEnv(uv={"packages": []}) == {}
    assert not RuntimeEnv(pip=[]).has_pip()


def test_modules_may_be_imported_ones(tmp_path: Path) -> None:
    module = types.ModuleType("m")
    module.__path__ = [str(tmp_path)]
    assert RuntimeEnv(py_modules=[module, "s3://b/m.whl"]).py_modules() == [str(tmp_path), "s3://b/m.whl"]


def test_tasks_may_not_name_local_folders(tmp_path: Path) -> None:
    for fields in ({"working_dir": str(tmp_path)}, {"py_modules": [str(tmp_path)]}):
        with pytest.raises(ValueError, match="is not a valid URI"):
            RuntimeEnv(**fields).check_for_task()
    RuntimeEnv(working_dir="https://host/a.zip").check_for_task()


def test_a_child_merges_variables_and_replaces_the_rest() -> None:
    parent = RuntimeEnv(env_vars={"A": "1", "B": "2"}, pip=["a"], excludes=["x"])
    child = RuntimeEnv(env_vars={"B": "3"}, pip=["b"])
    merged = parent.inherit(child)
    assert merged.env_vars() == {"A": "1", "B": "3"} and merged.pip_config()["packages"] == ["b"]
    assert merged.excludes() == ["x"] and parent.env_vars()["B"] == "2"


def test_pickling_keeps_it_without_looking_for_its_paths(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    data = pickle.dumps(RuntimeEnv(working_dir=str(folder)))
    folder.rmdir()
    copy = pickle.loads(data)
    assert isinstance(copy, RuntimeEnv) and copy.working_dir() == str(folder)


def test_a_config_may_be_an_object() -> None:
    config = RuntimeEnvConfig(setup_timeout_seconds=-1, log_files=["a.log"])
    assert RuntimeEnv(config=config).config() == config.to_dict()
