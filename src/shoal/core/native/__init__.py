"""The native engine. ``start`` is all that the rest of the core uses of it."""

from shoal.core.native.start import start as start
