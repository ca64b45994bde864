"""The documentation as a site: `make site`. Every page is Markdown, and reads as well where the code is."""

import re
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "s3discovery"
author = "the authors of s3discovery"
release = version = version_of("s3discovery")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
add_module_names = False
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"s3discovery {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False

_TOP = Path(__file__).parents[1]
# [words](../path): as Markdown has it, without pictures.
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#]+)\)")


def setup(app: Sphinx) -> None:
    """Have sphinx read our pages as people read them where the code is."""
    for name in ("conf", "hocon"):
        app.add_lexer(name, TextLexer)
    app.connect("source-read", _tell_of_files)


def _tell_of_files(app: Sphinx, name: str, source: list[str]) -> None:
    """Have links to files that are no pages of the site say what they lead to."""
    folder = (Path(app.srcdir) / name).parent

    def told(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(app.srcdir) or not target.exists():
            return link[0]
        path = target.relative_to(_TOP).as_posix()
        return f"`{path}`" if path in link[1] else f"{link[1]} (`{path}`)"

    source[0] = _LINK.sub(told, source[0])
