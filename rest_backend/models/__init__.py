"""Request and response bodies, in DiracX 0.7.0's shapes (diracx-openapi.json) and our extensions'.

The same models validate requests and draw the OpenAPI document.
"""
