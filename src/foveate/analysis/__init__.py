"""Analysis of photographs and probability maps: regions, component trees, quality, window selection.

Knows:   arrays in, arrays and values out.
Ignores: files and networks.
"""
