"""The environment a task, an actor or a whole job runs in. Public as ``shoal.runtime_env``."""

from __future__ import annotations

import copy
import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REMOTE_SCHEMES = ("http", "https", "s3", "gs", "azure", "abfss", "file", "gcs")
_ARCHIVES = (".zip", ".whl", ".jar", ".tar.gz", ".tgz", ".tar.xz")
_PACKAGE_FIELDS = {
    "pip": ("packages", "pip_check", "pip_version", "pip_install_options"),
    "uv": ("packages", "uv_check", "uv_version", "uv_pip_install_options"),
}
_NESTED_FILE = re.compile(r"^(-r|--requirement|-c|--constraint)[ =]\s*([^\s:$]+)$")
_URI = re.compile(r"([a-z0-9+]+)://.+")


class RuntimeEnvConfig(dict[str, Any]):
    """How the environment is set up: ``setup_timeout_seconds`` (600; -1 = no limit), ``eager_install`` (True),
    ``log_files``."""

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(self, setup_timeout_seconds: Any = 600, eager_install: Any = True, log_files: Any = None) -> None:
        if not isinstance(setup_timeout_seconds, int) or isinstance(setup_timeout_seconds, bool):
            raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(setup_timeout_seconds)}")
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(f"setup_timeout_seconds must be greater than zero or equals to -1, got: {setup_timeout_seconds}")
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a boolean. got {type(eager_install)}")
        if log_files is not None and not (isinstance(log_files, list) and all(isinstance(name, str) for name in log_files)):
            raise TypeError(f"log_files must be a list of strings or None, got {log_files!r}")
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=list(log_files or [])
        )

    @classmethod
    def from_value(cls, value: Any) -> RuntimeEnvConfig:
        """From what a user gave as ``config``. Raises TypeError for another type, ValueError for an unknown field."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise TypeError(f"runtime_env['config'] must be of type dict or RuntimeEnvConfig, got: {type(value)}")
        unknown = sorted(set(value) - cls.known_fields)
        if unknown:
            raise ValueError(f"runtime_env['config'] does not know {unknown}; it takes {sorted(cls.known_fields)}")
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(dict(self))


class RuntimeEnv(dict[str, Any]):
    """A checked runtime environment; also a plain dict of the fields that were given.

    Raises TypeError for a field of the wrong type and ValueError for an unknown field, a path that does not exist, or
    fields that exclude each other (``pip``, ``uv`` and ``conda``; ``image_uri``/``container`` and everything but
    ``env_vars`` and ``config``).
    """

    known_fields = frozenset(
        {
            "py_modules",
            "py_executable",
            "java_jars",
            "working_dir",
            "conda",
            "pip",
            "uv",
            "container",
            "excludes",
            "env_vars",
            "config",
            "worker_process_setup_hook",
            "nsight",
            "rocprof_sys",
            "image_uri",
        }
    )

    def __init__(self, *, _validate: bool = True, **fields: Any) -> None:
        given = {name: value for name, value in fields.items() if value is not None}
        unknown = sorted(set(given) - self.known_fields)
        if unknown:
            raise ValueError(f"runtime_env has no field {unknown[0]!r}; its fields are {sorted(self.known_fields)}")
        checked = {name: _CHECKS[name](value) for name, value in given.items()} if _validate else given
        super().__init__({name: value for name, value in checked.items() if value is not None})
        if _validate:
            _check_exclusive(self)

    @classmethod
    def from_value(cls, value: Any) -> RuntimeEnv:
        """From what a user gave as ``runtime_env`` (a dict or a RuntimeEnv). Raises TypeError for another type."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, but got {value!r} of type {type(value)}")
        return cls(**value)

    def check_for_task(self) -> RuntimeEnv:
        """Raises ValueError for local folders, which only a job's environment may name (``init(runtime_env=...)``)."""
        names = [self["working_dir"]] if "working_dir" in self else []
        for name in [*names, *self.get("py_modules", ())]:
            if not is_uri(name):
                raise ValueError(
                    f"{name} is not a valid URI. Local directories and modules can only be given for a whole job, "
                    "with init(runtime_env=...)"
                )
        return self

    def __setitem__(self, name: str, value: Any) -> None:
        """Checks as the constructor does, except for fields that exclude each other (``serialize`` does). None changes
        nothing."""
        if name not in self.known_fields:
            raise ValueError(f"runtime_env has no field {name!r}; its fields are {sorted(self.known_fields)}")
        checked = None if value is None else _CHECKS[name](value)
        if checked is not None:
            super().__setitem__(name, checked)

    def set(self, name: str, value: Any) -> None:
        self[name] = value

    def serialize(self) -> str:
        """JSON. Raises what the constructor raises, and TypeError for a hook that is a function."""
        return json.dumps(RuntimeEnv(**self), sort_keys=True)

    @classmethod
    def deserialize(cls, text: str) -> RuntimeEnv:
        return cls(_validate=False, **json.loads(text))

    def env_vars(self) -> dict[str, str]:
        return dict(self.get("env_vars") or {})

    def working_dir(self) -> str | None:
        return self.get("working_dir")

    def working_dir_uri(self) -> str | None:
        return self.get("working_dir")

    def py_modules(self) -> list[str]:
        return list(self.get("py_modules") or [])

    def py_modules_uris(self) -> list[str]:
        return self.py_modules()

    def py_executable(self) -> str | None:
        return self.get("py_executable")

    def excludes(self) -> list[str]:
        return list(self.get("excludes") or [])

    def pip_config(self) -> dict[str, Any]:
        return dict(self.get("pip") or {})

    def uv_config(self) -> dict[str, Any]:
        return dict(self.get("uv") or {})

    def has_pip(self) -> bool:
        return "pip" in self

    def has_uv(self) -> bool:
        return "uv" in self

    def has_conda(self) -> bool:
        return "conda" in self

    def has_working_dir(self) -> bool:
        return "working_dir" in self

    def has_py_modules(self) -> bool:
        return "py_modules" in self

    def config(self) -> RuntimeEnvConfig:
        return RuntimeEnvConfig.from_value(self.get("config", {}))

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(dict(self))

    def inherit(self, child: Mapping[str, Any]) -> RuntimeEnv:
        """What a child with ``child`` as its own environment runs in: ``env_vars`` are merged, other fields replace."""
        merged = {**self, **child}
        if "env_vars" in self or "env_vars" in child:
            merged["env_vars"] = {**self.get("env_vars", {}), **child.get("env_vars", {})}
        return RuntimeEnv(_validate=False, **merged)

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], RuntimeEnv], tuple[dict[str, Any]]]:
        # Paths were checked where the environment was made; they need not exist where it is read.
        return _restore, (dict(self),)


def is_uri(name: str) -> bool:
    """Whether ``name`` is remote (``s3://...``) rather than a local path."""
    return _URI.fullmatch(name) is not None


def _restore(fields: dict[str, Any]) -> RuntimeEnv:
    return RuntimeEnv(_validate=False, **fields)


def _check_exclusive(env: Mapping[str, Any]) -> None:
    installers = [name for name in ("pip", "uv", "conda") if name in env]
    if len(installers) > 1:
        raise ValueError(
            f"The '{installers[0]}' field and '{installers[1]}' field of runtime_env cannot be specified at the same time."
        )
    for image in ("image_uri", "container"):
        others = sorted(set(env) - {image, "env_vars", "config"})
        if image in env and others:
            raise ValueError(f"The '{image}' field of runtime_env goes only with env_vars and config, but got {others}")


def _check_string(field: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"runtime_env['{field}'] must be a string, got {type(value)}")
        return value

    return check


def _check_dict(field: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, (dict, str)):
            raise TypeError(f"runtime_env['{field}'] must be a dict or a string, got {type(value)}")
        return value

    return check


def _check_strings(field: str) -> Callable[[Any], list[str]]:
    def check(value: Any) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError(f"runtime_env['{field}'] must be of type List[str], got {value!r} of type {type(value)}")
        return list(value)

    return check


def _check_env_vars(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['env_vars'] must be of type Dict[str, str], got {type(value)}")
    for name, text in value.items():
        if not isinstance(name, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the key {name} is of type {type(name)}"
            )
        if not isinstance(text, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the value {text} is of type {type(text)}"
            )
    return dict(value)


def _check_location(name: str, *, archive_required: bool) -> str:
    """A remote archive, or a local path made absolute. Raises ValueError when it is neither."""
    if is_uri(name):
        scheme = name.partition("://")[0]
        if scheme not in REMOTE_SCHEMES:
            raise ValueError(f"{name} is not a valid URI: its scheme must be one of {list(REMOTE_SCHEMES)}")
        if archive_required and not name.endswith(_ARCHIVES):
            raise ValueError(f"{name} is not a valid URI: it must end in one of {list(_ARCHIVES)}")
        return name
    path = os.path.expanduser(os.path.expandvars(name))
    if not os.path.exists(path):
        raise ValueError(f"{name} is not a valid path")
    return os.path.realpath(path)


def _check_working_dir(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`working_dir` must be a string, got {type(value)}.")
    return _check_location(os.fspath(value), archive_required=True)


def _check_py_modules(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(value)}.")
    locations = []
    for module in value:
        if getattr(module, "__path__", None):  # an imported package
            module = str(next(iter(module.__path__)))
        if not isinstance(module, (str, os.PathLike)):
            raise TypeError(f"`py_module` must be a string, got {type(module)}.")
        locations.append(_check_location(os.fspath(module), archive_required=True))
    return locations


def _check_packages(field: str) -> Callable[[Any], dict[str, Any] | None]:
    """None for no packages: there is nothing to install then."""
    known = _PACKAGE_FIELDS[field]

    def check(value: Any) -> dict[str, Any] | None:
        if isinstance(value, str):
            value = {"packages": _lines_of(value)}
        elif isinstance(value, list):
            value = {"packages": value}
        if not isinstance(value, dict):
            raise TypeError(f"runtime_env['{field}'] must be of type str or List[str] or dict, got {type(value)}")
        if set(value) - set(known):
            raise ValueError(f"runtime_env['{field}'] can only have these fields: {', '.join(known)}, but got: {list(value)}")
        if "packages" not in value:
            raise ValueError(f"runtime_env['{field}'] must include field 'packages', but got {value}")
        result = {f"{field}_check": False, **value, "packages": _package_list(field, value["packages"])}
        if not isinstance(result[f"{field}_check"], bool):
            raise TypeError(
                f"runtime_env['{field}']['{field}_check'] must be of type bool, got {type(result[f'{field}_check'])}"
            )
        version = result.get(f"{field}_version", "")
        if not isinstance(version, str):
            raise TypeError(f"runtime_env['{field}']['{field}_version'] must be of type str, got {type(version)}")
        if known[3] in result:
            _check_strings(f"{field}']['{known[3]}")(result[known[3]])
        return result if result["packages"] else None

    return check


def _package_list(field: str, packages: Any) -> list[str]:
    if isinstance(packages, str) and field == "pip":
        packages = _lines_of(packages)
    if not isinstance(packages, list):
        kinds = "str or list" if field == "pip" else "list"
        raise ValueError(f"runtime_env['{field}']['packages'] must be of type {kinds}, got: {type(packages)}")
    _check_strings(f"{field}']['packages")(packages)
    return list(dict.fromkeys(packages))


def _lines_of(requirements: str) -> list[str]:
    """The lines of a requirements file. Other requirements files that it names are looked for beside it."""
    path = os.path.expanduser(requirements)
    if not os.path.isfile(path):
        raise ValueError(f"{path} is not a valid file")
    with open(path) as file:
        lines = [line.strip() for line in file]
    folder = os.path.realpath(os.path.dirname(path))
    return [_NESTED_FILE.sub(lambda found: f"{found[1]} {os.path.join(folder, found[2])}", line) for line in lines if line]


def _check_conda(value: Any) -> str | dict[str, Any]:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise TypeError(f"runtime_env['conda'] must be of type str or dict, got {type(value)}.")
    if value.endswith((".yml", ".yaml")) and not os.path.isfile(os.path.expanduser(value)):
        raise ValueError(f"Can't find conda YAML file {value}.")
    if os.path.isabs(value) and not os.path.exists(value):
        raise ValueError(f"Can't find conda env directory {value}.")
    return value


def _check_hook(value: Any) -> Any:
    if not (isinstance(value, str) or callable(value)):
        raise TypeError(f"runtime_env['worker_process_setup_hook'] must be a callable or an import path, got {type(value)}")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "py_modules": _check_py_modules,
    "py_executable": _check_string("py_executable"),
    "java_jars": _check_strings("java_jars"),
    "working_dir": _check_working_dir,
    "conda": _check_conda,
    "pip": _check_packages("pip"),
    "uv": _check_packages("uv"),
    "container": _check_dict("container"),
    "excludes": _check_strings("excludes"),
    "env_vars": _check_env_vars,
    "config": RuntimeEnvConfig.from_value,
    "worker_process_setup_hook": _check_hook,
    "nsight": _check_dict("nsight"),
    "rocprof_sys": _check_dict("rocprof_sys"),
    "image_uri": _check_string("image_uri"),
}
