"""What every room needs and what knows nothing of icecore: errors, files, imports, numbers."""
