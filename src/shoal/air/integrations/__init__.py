"""Loggers that write to other systems."""
