"""Weights for averages of probabilities."""
