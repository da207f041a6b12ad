"""Slow, plain re-derivations that the fast code is held against."""
