"""Geometry: the field of view, the canvas, windows, feature sampling and stitching.

Knows:   arrays, boxes and coordinates.
Ignores: files, networks, and what is in a photograph.
"""
