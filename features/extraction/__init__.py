"""The pipeline from files to rows in the cache."""
