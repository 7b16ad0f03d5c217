"""The legacy wires of DIRAC: bytes to calls and results to bytes; knows no service."""
