"""Run a notebook's cells, and store what they show in the notebook.

Run:    python tests/notebooks.py examples/segment.ipynb    (from the project's folder)

Jupyter's own runner, nbclient with ipykernel, would bring 24 packages for one notebook of plain Python. This
one runs the cells in one namespace, as a kernel does, and knows what Jupyter does with a cell's last value:
`_repr_html_`, `_repr_jpeg_`, or its text.
"""

import ast
import base64
import contextlib
import io
import json
import re
import sys
from pathlib import Path

ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
"""Where an object lies in memory: it differs from run to run."""


def run(path):
    """Run all cells in order and return the notebook with their outputs; errors are raised.

    Args:
        path: of the notebook; nbformat 4.
    """
    notebook = json.loads(path.read_text())
    names = {"__name__": "__main__"}
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        number += 1
        cell["execution_count"] = number
        cell["outputs"] = _outputs("".join(cell["source"]), names, number)
    return notebook


def _outputs(source, names, number):
    """Run one cell; return its printed text and its last value as nbformat stores them."""
    tree = ast.parse(source, f"cell {number}")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {number}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    outputs = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": number,
                "metadata": {},
                "data": _shown(value),
            }
        )
    return outputs


def _shown(value):
    """Return a value as Jupyter shows it, by media type."""
    shown = {"text/plain": _lines(ADDRESS.sub("", repr(value)))}
    if hasattr(value, "_repr_html_"):
        return shown | {"text/html": _lines(value._repr_html_())}
    if hasattr(value, "_repr_jpeg_"):
        return shown | {"image/jpeg": base64.b64encode(value._repr_jpeg_()).decode("ascii")}
    return shown


def _lines(text):
    """Return a text as nbformat stores it: a list of lines with their ends."""
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(json.dumps(run(file), indent=1, ensure_ascii=False) + "\n")
