"""OpenVINO without ballast: whitespace, metadata, shapes that follow from others, and long names go.

Half of a small network's bytes are its graph as XML, so equal constants, of which every quantizer has four,
become one layer too. Weights stay in the order of the graph, as OpenVINO has written them. Outputs are
bit-identical.
"""

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

PUBLIC = ("Parameter", "Result")
"""Layers whose names are seen outside."""


def strip(source: Path, graph: Path, weights: Path) -> None:
    """Write `graph` and `weights` from `source`.

    Args:
        source: an `.xml` with its `.bin` beside it, as OpenVINO writes them.
        graph: the same network as XML without metadata, inner names and inferred shapes.
        weights: a copy of the `.bin`.
    """
    net = ET.parse(source).getroot()  # noqa: S314 - OpenVINO has just written it
    for element in net.findall("rt_info"):
        net.remove(element)
    net.set("name", "g")
    layers, edges = _section(net, "layers"), _section(net, "edges")
    _share_constants(layers, edges)
    _bare(layers, _outputs(layers, edges))
    _renumber(layers, edges)
    for element in net.iter():
        element.text = element.tail = None
    graph.write_bytes(ET.tostring(net, encoding="utf-8", xml_declaration=True))
    weights.unlink(missing_ok=True)  # a session may still have an earlier file of this name in its memory
    shutil.copyfile(source.with_suffix(".bin"), weights)


def _section(net: ET.Element, name: str) -> ET.Element:
    found = net.find(name)
    return ET.SubElement(net, name) if found is None else found


def _share_constants(layers: ET.Element, edges: ET.Element) -> None:
    """Let constants of equal type, shape and place in the weights be one layer."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    alias: dict[str, str] = {}
    for layer in layers.findall("layer"):
        data = layer.find("data")
        if layer.get("type") != "Const" or data is None:
            continue
        kept = first.setdefault(tuple(sorted(data.items())), layer.attrib["id"])
        if kept != layer.attrib["id"]:
            alias[layer.attrib["id"]] = kept
            layers.remove(layer)
    for edge in edges:
        edge.set("from-layer", alias.get(edge.attrib["from-layer"], edge.attrib["from-layer"]))


def _outputs(layers: ET.Element, edges: ET.Element) -> set[tuple[str, str]]:
    """Return layer and port of everything that is seen outside."""
    kinds = {layer.attrib["id"]: layer.get("type") for layer in layers}
    results = {
        (edge.attrib["from-layer"], edge.attrib["from-port"])
        for edge in edges
        if kinds[edge.attrib["to-layer"]] == "Result"
    }
    inputs = {
        (layer.attrib["id"], port.attrib["id"])
        for layer in layers
        if layer.get("type") == "Parameter"
        for port in layer.iter("port")
    }
    return results | inputs


def _bare(layers: ET.Element, public: set[tuple[str, str]]) -> None:
    """Drop names that nobody sees, and the ports' types and shapes, which OpenVINO infers again."""
    for layer in layers:
        for metadata in layer.findall("rt_info"):
            layer.remove(metadata)
        for port in layer.findall("input/port"):
            port.attrib.pop("precision", None)
        for port in layer.iter("port"):
            for size in list(port):
                port.remove(size)
            if (layer.attrib["id"], port.attrib["id"]) not in public:
                port.attrib.pop("names", None)


def _renumber(layers: ET.Element, edges: ET.Element) -> None:
    """Count the layers that are left; inner ones are called by their number."""
    place = {layer.attrib["id"]: str(at) for at, layer in enumerate(layers)}
    for layer in layers:
        layer.set("id", place[layer.attrib["id"]])
        if layer.get("type") not in PUBLIC:
            layer.set("name", layer.attrib["id"])
    for edge in edges:
        for end in ("from-layer", "to-layer"):
            edge.set(end, place[edge.attrib[end]])
