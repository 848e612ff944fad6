"""What `benchmarks/speed.py` times: each candidate runs in a process of its own, in the environment it needs.

A candidate's module has functions that open it: they load once and return what `child.py` calls again and
again. The modules of peers are never imported by the one that times Foveate.
"""
