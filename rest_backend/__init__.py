"""The new side: a DiracX-compatible REST API, complete without the legacy packages."""
