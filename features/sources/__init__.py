"""Where networks come from, one source a module."""
