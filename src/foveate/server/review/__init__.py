"""Review: corrections by hand, gradings by several people, reference masks, and the ETDRS grid.

Knows:   what people change in a result, and the counts of each lesion afterwards.
Ignores: HTTP and processes.
"""
