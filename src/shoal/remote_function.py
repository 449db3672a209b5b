"""The type behind ``@remote`` on a function."""

from __future__ import annotations

from shoal.core.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
