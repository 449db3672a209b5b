"""The native engine: ``start.start`` makes one, and ``hooks.install`` gives the kernel what it asks of Python."""
