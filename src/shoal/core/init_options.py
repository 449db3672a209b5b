"""The arguments of ``init()``: one record, checked once, and the environment variables that stand in for them."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from shoal.core import option_rules as rules
from shoal.core.labels import NODE_ID_LABEL, check_labels
from shoal.core.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.job_config import JobConfig
    from shoal.core.logging_config import LoggingConfig
    from shoal.core.runtime_env import RuntimeEnv

SPILL_FOLDERS_MAX = 32
OBJECT_STORE_MINIMUM_BYTES = 75 * 1024 * 1024
_NODE_SIZE = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "memory")
_ISOLATION = ("cgroup_path", "system_reserved_cpu", "system_reserved_memory")
_REMOVED = {
    "storage": "Cluster-wide storage configuration has been removed: the `storage` argument is not supported.",
    "allow_multiple": "The `allow_multiple` argument goes only with a client address (ray://...), which is not used here.",
}
ENVIRONMENT_HOOK = "RAY_RUNTIME_ENV_HOOK"
_IGNORED_VARIABLES = {
    "RAY_record_ref_creation_sites": "where references are made is not recorded",
    "RAY_BACKEND_LOG_JSON": "the node's own log has one format",
    "RAY_USE_TLS": "nothing of a session goes over a network",
}
_DASHBOARD = ("include_dashboard", "dashboard_host", "dashboard_port")
_UNSUPPORTED = (
    "enable_resource_isolation",
    "proxy_server_url",
    "_enable_object_reconstruction",
    "_metrics_export_port",
    "_plasma_directory",
    "_redis_password",
    "_redis_username",
    "_tracing_startup_hook",
)


class InitOptions(Record):
    """What a session is started with. None means "not given": the engine detects or chooses."""

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] | None = None
    labels: dict[str, str] | None = None
    object_store_memory: int | None = None
    memory: int | None = None
    namespace: str | None = None
    runtime_env: RuntimeEnv | None = None
    job_config: JobConfig | None = None
    ignore_reinit_error: bool = False
    configure_logging: bool = True
    logging_level: int | str = "INFO"
    logging_format: str | None = None
    logging_config: LoggingConfig | None = None
    log_to_driver: bool = True
    object_spilling_directory: tuple[str, ...] | None = None
    temp_dir: str | None = None
    node_ip_address: str | None = None
    node_name: str | None = None
    system_config: dict[str, Any] | None = None
    inline: bool = False

    @classmethod
    def from_keywords(cls, **keywords: Any) -> InitOptions:
        """Checks the keywords of ``init()`` and fills in the environment variables.

        Warns when a dashboard is asked for: there is none. Raises RuntimeError for a removed or unknown keyword,
        NotImplementedError for one that Shoal does not support, TypeError and ValueError for bad values."""
        _reject(keywords)
        given = {name.lstrip("_"): value for name, value in keywords.items() if value is not None}
        given = {name: _RULES[name](name, value) for name, value in given.items() if name in _RULES}
        if given.pop("local_mode", False):
            warnings.warn("local_mode is deprecated: use inline=True", DeprecationWarning, stacklevel=3)
            given["inline"] = True
        _warn_of_dashboard(given)
        _warn_of_variables()
        if not given.pop("skip_env_hook", False) and ENVIRONMENT_HOOK in os.environ:
            given["runtime_env"] = _hooked_environment(given.get("runtime_env"))
        options = cls(**{**_from_environment(given), **given})
        return options._with_overrides()._complete()

    @property
    def starts_cluster(self) -> bool:
        """Whether a private session is started rather than a running one joined."""
        return self.address in (None, "local")

    @property
    def spill_directories(self) -> tuple[str, ...]:
        """Where values go that memory has no room for: ``object_spilling_directory``, or what the ``object_spilling_config``
        of ``_system_config`` names. Several share the load. None: the session's own folder."""
        return self.object_spilling_directory or _configured_spill_directories(self.system_config or {})

    @property
    def effective_namespace(self) -> str | None:
        return self.namespace or (self.job_config.ray_namespace if self.job_config else None)

    @property
    def effective_runtime_env(self) -> RuntimeEnv | None:
        """The job's environment, from ``runtime_env`` or ``job_config``."""
        if self.runtime_env is not None:
            return self.runtime_env
        return self.job_config.runtime_env if self.job_config else None

    @property
    def code_search_path(self) -> list[str]:
        """Where workers look for modules first."""
        return list(self.job_config.code_search_path) if self.job_config else []

    def _with_overrides(self) -> InitOptions:
        """Autoscalers' variables beat what the program asked for."""
        changes: dict[str, Any] = {}
        if "RAY_OVERRIDE_RESOURCES" in os.environ:
            override = _json_variable("RAY_OVERRIDE_RESOURCES")
            changes["num_cpus"] = override.pop("CPU", self.num_cpus)
            changes["num_gpus"] = override.pop("GPU", self.num_gpus)
            changes["memory"] = override.pop("memory", self.memory)
            changes["resources"] = {**(self.resources or {}), **override}
        if "RAY_OVERRIDE_LABELS" in os.environ:
            changes["labels"] = {**(self.labels or {}), **_json_variable("RAY_OVERRIDE_LABELS")}
        return self.replaced(**changes)

    def _complete(self) -> InitOptions:
        if self.inline and not self.starts_cluster:
            raise ValueError(
                f"inline=True runs everything in this process and joins no session, but got address={self.address!r}"
            )
        if not self.starts_cluster:
            given = [name for name in _NODE_SIZE if getattr(self, name) is not None]
            given += ["_system_config"] if self.system_config else []
            given += ["_node_name"] if self.node_name is not None else []
            if given:
                raise ValueError(
                    f"When connecting to an existing cluster, {' and '.join(given)} must not be provided, "
                    f"but got {', '.join(f'{name}={getattr(self, name.lstrip(chr(95)))!r}' for name in given)}"
                )
        if self.system_config:
            import logging

            logging.getLogger("shoal").debug("_system_config is accepted for compatibility: %s", sorted(self.system_config))
        return self


def _reject(keywords: dict[str, Any]) -> None:
    for name, reason in _REMOVED.items():
        if keywords.get(name):
            raise RuntimeError(reason)
    known = {*_RULES, *_HIDDEN, *_REMOVED, *_ISOLATION, *_UNSUPPORTED}
    unknown = [name for name in keywords if name not in known or name in _HIDDEN_NAMES]
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {', '.join(unknown)}")
    if any(keywords.get(name) is not None for name in _ISOLATION) and not keywords.get("enable_resource_isolation"):
        given = next(name for name in _ISOLATION if keywords.get(name) is not None)
        raise ValueError(f"{given} cannot be set when resource isolation is not enabled, but got {given}={keywords[given]!r}")
    for name in _UNSUPPORTED:
        if keywords.get(name):
            raise NotImplementedError(f"init() does not support {name}, but got {name}={keywords[name]!r}")


def _warn_of_dashboard(given: dict[str, Any]) -> None:
    """Takes what was asked of a dashboard out of the keywords. Programs that want one for their users' sake still run."""
    asked = {name: given.pop(name) for name in _DASHBOARD if name in given}
    if asked.get("include_dashboard", True) and asked:
        text = ", ".join(f"{name}={value!r}" for name, value in asked.items())
        warnings.warn(
            f"Shoal has no dashboard, so {text} starts none: shoal.util.state and `python -m shoal list` tell what is there",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_variables() -> None:
    for name, why in _IGNORED_VARIABLES.items():
        if os.environ.get(name, "0").lower() not in ("0", "", "false"):
            warnings.warn(f"{name}={os.environ[name]} changes nothing: {why}", UserWarning, stacklevel=4)


def _from_environment(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    address = os.environ.get("RAY_ADDRESS")
    if address and given.get("address") in (None, "auto") and not given.get("inline"):
        given.pop("address", None)
        found["address"] = address
    if "RAY_LOG_TO_DRIVER" in os.environ:
        found["log_to_driver"] = os.environ["RAY_LOG_TO_DRIVER"].lower() in ("1", "true")
    if os.environ.get("RAY_TMPDIR"):
        found["temp_dir"] = os.environ["RAY_TMPDIR"]
    if os.environ.get("RAY_LOGGING_CONFIG_ENCODING") and "logging_config" not in given:
        from shoal.core.logging_config import LoggingConfig

        found["logging_config"] = LoggingConfig(encoding=os.environ["RAY_LOGGING_CONFIG_ENCODING"])
    return found


def _json_variable(name: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(os.environ[name])
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} must be a JSON object, but got {os.environ[name]!r}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a JSON object, but got {os.environ[name]!r}")
    return value


def _address(name: str, value: Any) -> str:
    rules.require_type(name, value, (str,))
    if not value:
        raise ValueError("address must not be an empty string: leave it out to start a session")
    return str(value)


def _store_size(name: str, value: Any) -> int:
    rules.require_type(name, value, (int, float))
    if value < OBJECT_STORE_MINIMUM_BYTES:
        raise ValueError(
            f"Attempting to cap object store memory usage at {value} bytes, "
            f"but object_store_memory must be >= {OBJECT_STORE_MINIMUM_BYTES} bytes"
        )
    return int(value)


def _memory(name: str, value: Any) -> int:
    return int(rules.quantity(name, value) or 0)


def _node_labels(name: str, value: Any) -> dict[str, str]:
    rules.require_type(name, value, (dict,))
    if NODE_ID_LABEL in value:
        warnings.warn(
            f"the label {NODE_ID_LABEL} is the node's own: {name}={value!r} does not change it", UserWarning, stacklevel=5
        )
    return check_labels(value, allow_reserved=True)


def _job_environment(name: str, value: Any) -> RuntimeEnv:
    from shoal.core.runtime_env import RuntimeEnv

    return RuntimeEnv.from_value(value)


def _hooked_environment(given: RuntimeEnv | None) -> RuntimeEnv:
    """What the function that the variable names makes of the job's environment, a dict or None."""
    import importlib

    path = os.environ[ENVIRONMENT_HOOK]
    module, dot, name = path.rpartition(".")
    if not dot:
        raise ValueError(f"{ENVIRONMENT_HOOK} must be the path of a function like package.module.name, but got {path!r}")
    hook = getattr(importlib.import_module(module), name)
    return _job_environment(ENVIRONMENT_HOOK, hook(None if given is None else dict(given)))


def _job_config(name: str, value: Any) -> JobConfig:
    from shoal.core.job_config import JobConfig

    return JobConfig.from_json(value) if isinstance(value, dict) else rules.typed(JobConfig)(name, value)


def _logging_config(name: str, value: Any) -> LoggingConfig:
    from shoal.core.logging_config import LoggingConfig

    rules.require_type(name, value, (LoggingConfig,))
    config: LoggingConfig = value
    return config


def _flag(name: str, value: Any) -> bool:
    rules.require_type(name, value, (bool,))
    return bool(value)


def _folder(name: str, value: Any) -> str:
    rules.require_type(name, value, (str,))
    if not os.path.isabs(value):
        raise ValueError(f"{name} must be absolute path, but got {name}={value!r}")
    return str(value)


def _folders(name: str, value: Any) -> tuple[str, ...]:
    """One folder, or a list of them."""
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    if not 1 <= len(given) <= SPILL_FOLDERS_MAX or len(given) != len(set(given)):
        raise ValueError(f"{name} must name 1 to {SPILL_FOLDERS_MAX} different folders, but got {name}={value!r}")
    if any("\n" in str(each) for each in given):
        raise ValueError(f"{name} must be a path without line breaks, but got {name}={value!r}")
    return tuple(_folder(name, each) for each in given)


def _port(name: str, value: Any) -> int:
    rules.require_type(name, value, (int,))
    if not 0 <= value <= 65535:
        raise ValueError(f"{name} must be between 0 and 65535, but got {name}={value}")
    return int(value)


def _configured_spill_directories(system_config: dict[str, Any]) -> tuple[str, ...]:
    given = system_config.get("object_spilling_config")
    if not given:
        return ()
    if isinstance(given, str):
        import json

        given = json.loads(given)
    kind, parameters = given.get("type"), given.get("params") or {}
    if kind != "filesystem":
        raise NotImplementedError(f"object_spilling_config supports the type 'filesystem' only, but got type={kind!r}")
    if not parameters.get("directory_path"):
        raise ValueError(f"object_spilling_config needs a folder or a list of them as directory_path, but got {parameters!r}")
    return _folders("directory_path", parameters["directory_path"])


def _system_config(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"The _system_config must be a dict, but got {value!r}.")
    return dict(value)


_HIDDEN = (
    "object_spilling_directory",
    "_memory",
    "_temp_dir",
    "_node_ip_address",
    "_node_name",
    "_skip_env_hook",
    "_system_config",
)
_HIDDEN_NAMES = frozenset(name.lstrip("_") for name in _HIDDEN if name.startswith("_"))

_RULES: dict[str, Callable[[str, Any], Any]] = {
    "address": _address,
    "num_cpus": rules.quantity,
    "num_gpus": rules.quantity,
    "resources": rules.resources,
    "labels": _node_labels,
    "object_store_memory": _store_size,
    "memory": _memory,
    "namespace": rules.namespace,
    "runtime_env": _job_environment,
    "job_config": _job_config,
    "ignore_reinit_error": _flag,
    "include_dashboard": _flag,
    "dashboard_host": rules.typed(str),
    "dashboard_port": _port,
    "configure_logging": _flag,
    "logging_level": rules.typed(int, str),
    "logging_format": rules.typed(str),
    "logging_config": _logging_config,
    "log_to_driver": _flag,
    "object_spilling_directory": _folders,
    "temp_dir": _folder,
    "node_ip_address": rules.typed(str),
    "node_name": rules.typed(str),
    "skip_env_hook": _flag,
    "system_config": _system_config,
    "inline": _flag,
    "local_mode": _flag,
}
