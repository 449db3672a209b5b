"""Where Ray keeps the names of its newer output."""
