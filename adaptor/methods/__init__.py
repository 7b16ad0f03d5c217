"""One module per DIRAC service, one function per legacy method."""
