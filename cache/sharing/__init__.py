"""Several processes and machines at one cache."""
