"""Docstrings are written for readers of Python; the site reads them as Markdown.

A griffe extension that makes code of roles and fences of doctests, and takes the paragraph on what
is raised out of the list of parameters.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")
_DOCTEST = re.compile(r"(?:^>>> .*\n?(?:^(?!>>> )\S.*\n?|^\.\.\. ?.*\n?)*)+", re.MULTILINE)
_RAISES = re.compile(r"\n\n(Raises? [^\n-])")


class Docstrings(griffe.Extension):
    """Applied to every object before its docstring is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring ``text`` in Markdown with numpy's sections."""
    text = _ROLE.sub(r"`\1`", text)
    # indented below a paragraph they are code already
    text = _DOCTEST.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)
    if "\nParameters\n---" in text:
        text = _RAISES.sub(r"\n\nNotes\n-----\n\1", text)
    return text
