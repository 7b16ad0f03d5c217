"""Calls to legacy services, as `wherry call` makes them."""
