"""Gluon's networks: the zoos, their files and their symbols."""
