"""A hint for machines on which another engine would be faster.

Knows:   which engine the rule chose, and why.
Ignores: how engines compute.
"""

import sys

from foveate.engines.choice import EngineChoice, misses_openvino


def print_hint(choice: EngineChoice) -> None:
    """Say on stderr how to predict faster, if nobody chose the slower engine; a chosen one is left alone."""
    if misses_openvino(choice):
        print(
            "foveate: OpenVINO would be faster on this processor, up to three times as fast; "
            "pip install 'foveate[openvino]'",
            file=sys.stderr,
        )
