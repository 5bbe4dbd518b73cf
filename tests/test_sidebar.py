"""When titles change, every page is written again."""

from types import SimpleNamespace

import sidebar
from docutils import nodes


def test_pages_are_written_again_only_when_a_title_changes() -> None:
    env = SimpleNamespace(titles={"a": nodes.title("", "A"), "b": nodes.title("", "B")})
    assert sidebar.pages_with_old_titles(None, env) == []  # all are new, and written anyway
    assert sidebar.pages_with_old_titles(None, env) == []
    env.titles["a"] = nodes.title("", "Another")
    assert sidebar.pages_with_old_titles(None, env) == ["a", "b"]
    assert sidebar.pages_with_old_titles(None, env) == []
