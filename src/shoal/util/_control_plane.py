"""The way to the running engine, for the helpers whose questions have no public function."""

from __future__ import annotations

from shoal.core.session import current_engine, current_session, require_engine

__all__ = ["current_engine", "current_session", "require_engine"]
