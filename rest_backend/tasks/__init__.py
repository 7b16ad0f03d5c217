"""Periodic tasks: what they are (:mod:`table`), and who does them when (:mod:`runner`)."""
