"""Reports as one page of HTML, to read and to print on A4 or Letter, a sheet for each photograph.

Knows:   the template, and the policy under which the page may be shown.
Ignores: what a report says.

The page contains its style and its pictures, so that it can be kept as one file. It runs no script, and its
content security policy allows nothing else to be loaded. Jinja2 escapes all text that people typed.
"""

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from foveate import templates
from foveate.server.exports.report import PhotographReport

PACKAGE = "foveate.server.exports"

STYLE = templates.render(PACKAGE, "report.css")

HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{HASH}'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Content security policy of the page."""


def html(title: str, reports: Sequence[PhotographReport]) -> str:
    """Return the page as HTML.

    Args:
        title: title of the window: the name of a photograph or of a batch.
        reports: one for each sheet of paper.
    """
    return templates.render(
        PACKAGE,
        "report.html",
        title=title,
        style=Markup(STYLE),  # our own file
        reports=reports,
        encode=lambda content: base64.b64encode(content).decode(),
    )
