"""Review: corrections by hand, imported annotations, and the ETDRS grid.

Knows:   what a person changes, and what follows from it.
Ignores: HTTP and processes.
"""
