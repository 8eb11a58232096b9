"""How the documentation is built: Sphinx, furo and MyST; a warning is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from docutils.nodes import Text, literal_block

import millpond

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement, document, reference
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

project = "millpond"
version = release = tomllib.loads(_PYPROJECT.read_text())["project"]["version"]
author = "the millpond authors"
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "examples", "snippets"]

html_theme = "furo"
html_title = f"millpond {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Redis"]
napoleon_use_ivar = True

# Names of millpond's own must resolve, those of other projects cannot: a build has no network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!millpond\.).*"),
    ("py:.*", r"millpond\.(core|cache|ext|testing)\..*\._\w+"),
]


_INTERNAL = ("millpond.core.", "millpond.cache.", "millpond.structures.")


def _find_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: TextElement
) -> Element | reference | None:
    """Lead `millpond.core.client.Client`, as annotations spell it, to `millpond.Client`.

    What is not public is left as text.
    """
    target = str(node.get("reftarget", ""))
    name = target.rpartition(".")[2]
    if node.get("refdomain") != "py" or not target.startswith("millpond."):
        return None
    if name not in millpond.__all__:
        return text if target.startswith(_INTERNAL) else None
    return env.domains.python_domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"millpond.{name}", node, text
    )


def _strip_blank_ends(_: Sphinx, page: document) -> None:
    """Drop the blank lines that stand, by the formatter's rules, before a snippet's end mark."""
    for block in page.findall(literal_block):
        text = block.astext().rstrip()
        block.children = [Text(text)]
        block.rawsource = text  # what is highlighted


def setup(app: Sphinx) -> None:
    """Register the two."""
    app.connect("missing-reference", _find_public_name)
    app.connect("doctree-read", _strip_blank_ends)
