"""The picture of what was known of a metric."""

from __future__ import annotations

from xml.etree import ElementTree

from headrace.cli._lines import Begun, Known, interval, page

SVG = "{http://www.w3.org/2000/svg}"


def texts(steps: list[Begun]) -> dict[str, float]:
    """Where each text of a picture stands, from the left."""
    points = [Known(at, 0.01, -0.05 + at / 1000, 0.06 - at / 1000, "undecided") for at in range(41)]
    drawn = ElementTree.fromstring(page("a <page>", [interval("errors", 0.02, points, steps)]))
    return {text.text or "": float(text.get("x", "nan")) for text in drawn.iter(f"{SVG}text")}


def test_values_are_shares_and_round():
    found = texts([])
    assert {"-4%", "-2%", "0%", "2%", "4%"} <= found.keys()
    assert "a <page>" in found


def test_steps_stand_where_they_began_and_inside_of_the_picture():
    found = texts([Begun(-2.0, "5%"), Begun(20.0, "25%"), Begun(40.0, "100%"), Begun(41.0, "never")])
    assert found["0 s"] < found["5%"] < found["25%"] < found["100%"] < found["40 s"]
    assert "never" not in found
