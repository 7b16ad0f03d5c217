"""The composition root: command line, configuration, building the parts, the demo grid."""
