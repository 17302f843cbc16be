"""Probabilities and labels of several models, joined by id."""
