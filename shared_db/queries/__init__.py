"""Atomic, bulk questions and changes, one module per subject; each takes the unit of work first."""
