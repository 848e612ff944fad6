"""From a photograph to its lesions: one photograph, many of them, and the calls that Python offers.

Knows:   the order of the steps.
Ignores: how a single step is done, and who asked.
"""
