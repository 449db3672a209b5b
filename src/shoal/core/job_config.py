"""What a job brings along: environment, metadata, namespace. Public as ``shoal.job_config``."""

from __future__ import annotations

import os
from typing import Any

from shoal.core import option_rules as rules
from shoal.core.runtime_env import RuntimeEnv

LIFETIMES = ("detached", "non_detached")


class JobConfig:
    """The configuration of one driver's job, for ``init(job_config=...)``.

    ``default_actor_lifetime`` is the lifetime of actors that do not name one. ``code_search_path``: folders in which workers
    look for modules first. ``jvm_options`` belongs to another language: ValueError when given."""

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
    ) -> None:
        if jvm_options:
            raise ValueError(f"jvm_options is not supported: there are no other languages, but got jvm_options={jvm_options!r}")
        if isinstance(code_search_path, str):
            raise TypeError(f"code_search_path must be a list of folders, but got {code_search_path!r}")
        self.code_search_path = [os.path.abspath(folder) for folder in code_search_path or ()]
        self.metadata = dict(metadata or {})
        self.ray_namespace = rules.namespace("ray_namespace", ray_namespace)
        self.runtime_env: RuntimeEnv | None = None
        self.default_actor_lifetime = "non_detached"
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_metadata(self, key: str, value: str) -> None:
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        self.ray_namespace = rules.namespace("ray_namespace", ray_namespace)

    def set_runtime_env(self, runtime_env: dict[str, Any] | None, validate: bool = False) -> None:
        """The environment is always checked, whatever ``validate`` says."""
        self.runtime_env = None if runtime_env is None else RuntimeEnv.from_value(runtime_env)

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        if default_actor_lifetime not in LIFETIMES:
            raise ValueError(f"default_actor_lifetime must be one of {LIFETIMES}, but got {default_actor_lifetime!r}")
        self.default_actor_lifetime = default_actor_lifetime

    @classmethod
    def from_json(cls, job_config_json: dict[str, Any]) -> JobConfig:
        """From the dict form. Raises ValueError for an unknown key."""
        known = ("runtime_env", "metadata", "ray_namespace", "default_actor_lifetime", "jvm_options", "code_search_path")
        rules.reject_unknown("job_config", job_config_json, known, {})
        return cls(**job_config_json)
