"""Templates escape every text, and a missing value is an error."""

import pytest
from jinja2 import DictLoader, UndefinedError

from foveate import templates


@pytest.fixture(autouse=True)
def page(monkeypatch):
    """Make `page.html` a template of any package."""
    loader = DictLoader({"page.html": "<p>{{ name }}</p>\n"})
    monkeypatch.setattr(templates, "PackageLoader", lambda package, folder: loader)
    templates.environment.cache_clear()
    yield
    templates.environment.cache_clear()


def test_an_inserted_text_is_escaped():
    assert templates.render("any", "page.html", name="<b>&\"'") == "<p>&lt;b&gt;&amp;&#34;&#39;</p>\n"


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        templates.render("any", "page.html")
