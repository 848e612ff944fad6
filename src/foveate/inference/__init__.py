"""Inference: from a photograph to its lesions, one photograph or many, and the Python interface.

Knows:   the order of the steps.
Ignores: how a single step is done, and who calls it.
"""
