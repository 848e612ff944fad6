"""Training: samples, augmentation, losses, stages, run folders, release.

Knows:   torch, data sets, and the same canvas and normalisation as inference.
Ignores: the command line, and the numbers of any particular recipe.
"""
