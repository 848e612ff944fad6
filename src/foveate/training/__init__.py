"""How the networks learn: samples, augmentation, loss, stages, the run folder.

Knows:   torch, data sets, the same cutting and preparing as inference.
Ignores: the command line, and the numbers of any one recipe.
"""
