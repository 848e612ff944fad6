"""HTTP: the application, its routes, what guards them, and the bodies of requests and responses.

Knows:   requests, responses, status codes.
Ignores: how a request is carried out.
"""
