"""Run folders and probability files: one reader and one writer each."""
