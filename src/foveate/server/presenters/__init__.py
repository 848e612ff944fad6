"""Values of the server -> bodies of the API, with a module for each kind of resource.

Knows:   which value becomes which key, and how numbers are rounded.
Ignores: who sends the request, and what the values mean.
"""
