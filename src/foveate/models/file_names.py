"""The names of a model package's files.

Knows:   the files of every package.
Ignores: what is in them, and files that only one engine reads (`engines.openvino.INT8_FILES`).
"""

MANIFEST = "manifest.json"
"""The file that names all other files, with their digests; a folder that holds it is a model package."""

GLOBAL_GRAPH = "global.onnx"
"""GlobalNet as a graph."""

LOCAL_GRAPH = "local.onnx"
"""LocalNet and the fusion as a graph."""

WEIGHTS = "weights.safetensors"
"""The only file with weights: both graphs refer to it. Normalisations are folded (`nets.fold_batch_norm`)."""

EXAMPLE = "example.npz"
"""Inputs, with the outputs that are expected for them."""

FILES = (GLOBAL_GRAPH, LOCAL_GRAPH, WEIGHTS, EXAMPLE)
"""The files of every package beside its manifest."""
