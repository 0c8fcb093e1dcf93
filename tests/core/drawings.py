"""Reads the SVG that the server makes, as a browser does."""

from __future__ import annotations

from xml.etree import ElementTree as ET


def parse(svg: str) -> ET.Element:
    """Read a drawing of ours. HTML keeps a line break in an attribute, XML would make it a space."""
    return ET.fromstring(svg.replace("\n", "&#10;"))
