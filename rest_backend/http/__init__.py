"""What HTTP adds to an operation: compression, CORS, limits, problem details, connections."""
