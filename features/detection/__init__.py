"""Boxes found by a detector."""
