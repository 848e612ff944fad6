"""HTML pages from Jinja2 templates.

Knows:   where a package keeps its templates, and that every inserted text is escaped.
Ignores: what a page shows.
"""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, name: str, /, **context: object) -> str:
    """Return a page from a template.

    Args:
        package: import name of the package that holds the template in its folder `templates`.
        name: file name of the template.
        context: the values that the template inserts; a missing one is an error.
    """
    return environment(package).get_template(name).render(context)


@cache
def environment(package: str) -> Environment:
    """Return the environment of a package's templates: escaping is on, and an unknown name is an error."""
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
