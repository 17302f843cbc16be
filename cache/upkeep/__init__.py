"""Commands on a whole cache: verify, repair, merge, prune, export, describe."""
