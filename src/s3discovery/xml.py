"""XML from servers: entities and DOCTYPE are refused, which makes it as harmless as JSON."""

import xml.etree.ElementTree as ET


class NotXmlError(ValueError):
    """The body is no XML that a server of AWS's kind would send; the text says why."""


class _Tree(ET.TreeBuilder):
    """A tree without DOCTYPE, and so without entities of its own."""

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise NotXmlError(f"a document of type {name[:40]!r}")


def parse_xml(body: bytes) -> tuple[ET.Element, str]:
    """Return the root, and the name space in braces that its names begin with, or nothing.

    Raises NotXmlError."""
    parser = ET.XMLParser(target=_Tree())  # noqa: S314 - _Tree refuses what makes XML dangerous
    try:
        parser.feed(body)
        root = parser.close()
    except NotXmlError:
        raise
    except (ET.ParseError, LookupError, ValueError) as error:
        # The last two: an encoding that is unknown, or that expat cannot read.
        raise NotXmlError(f"no well-formed XML ({error})") from error
    space, brace, _ = root.tag.rpartition("}")
    return root, space + brace
