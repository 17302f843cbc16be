"""The kinds of heads, one a module."""
