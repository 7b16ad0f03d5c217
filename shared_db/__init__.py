"""DIRAC's data and the rules of it: registry, schema, job states, queries, on three database engines."""
