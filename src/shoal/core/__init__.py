"""The public API's objects and rules, above any engine. Users import ``shoal``; nothing here is a stable name."""
