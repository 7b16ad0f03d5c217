"""Native handlers and the one record of every method, one module per DIRAC service."""
