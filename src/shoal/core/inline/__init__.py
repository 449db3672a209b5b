"""Inline mode: tasks and actors run in the driver's own process, for debugging. ``start`` makes the engine."""
