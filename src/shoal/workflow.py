"""Ray's former library for durable workflows. Importing it raises RuntimeError, as in Ray."""

from __future__ import annotations

raise RuntimeError("shoal.workflow does not exist: Ray removed its workflows after version 2.47, and Shoal has none")
