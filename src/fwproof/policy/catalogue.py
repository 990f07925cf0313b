"""The catalogue of controls: what ships with fwproof, and what a policy's own folder adds to it.

A ``*.controls.yaml`` beside a policy declares frameworks of one's own, or controls that a shipped framework lacks
here. A policy that names anything else is refused, with the nearest id that there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from fwproof.controls import Control, Framework
from fwproof.errors import Fault, InputError
from fwproof.policy.document import Document, Node, read_document
from fwproof.policy.faults import read_shape, without_echoes
from fwproof.policy.fields import Choice, Shape, Text, Title, wrong
from fwproof.policy.model import Policy
from fwproof.policy.nearest import suggest
from fwproof.policy.scalars import describe, quoted
from fwproof.policy.table_model import ANY_ONE, MANAGERS
from fwproof.policy.table_shapes import ControlId
from fwproof.policy.table_shapes import Framework as FrameworkId

SUFFIX = ".controls.yaml"
"""What the name of a file of one's own ends in."""
_EXAMINE, _TEST = "examine", "test"
_Manager = Annotated[str, Choice(tuple(name for name in MANAGERS if name != ANY_ONE))]
METHODS: Mapping[str, tuple[str, ...]] = {
    "inbound": (_EXAMINE, _TEST), "allow": (_EXAMINE, _TEST), "outbound": (_EXAMINE, _TEST), "forward": (_EXAMINE,),
    "management": (_EXAMINE, _TEST), "rate": (_EXAMINE, _TEST), "evasion": (_TEST,), "spoofing": (_TEST,),
    "ipv6": (_EXAMINE,), "loopback": (_EXAMINE, _TEST),
    "established": (_EXAMINE, _TEST), "icmpv6-nd": (_EXAMINE, _TEST), "bans": (_EXAMINE, _TEST),
    "drop_log": (_EXAMINE, _TEST), "persistence": (_EXAMINE,), "rules": (_EXAMINE,), "managers": (_EXAMINE,),
    "coverage": (_EXAMINE, _TEST), "listeners": (_EXAMINE, _TEST), "baseline": (_EXAMINE,),
    "kernel": (_EXAMINE,),
}  # fmt: skip
"""What of a policy can support a control, and by which methods of NIST SP 800-53A each does.

They are the words of a policy, and three for parts of them: ``management`` is the allow of a service that the host is
administered through, ``rate`` an allow with a limit, ``spoofing`` an evasion with forged sources among its forms.
"""

Catalogue = Mapping[str, Framework]
"""Frameworks by id."""


class ControlShape(Shape):
    """One control in our own words."""

    is_: Title = Field(alias="is", description="What it asks for, in one line of one's own words")
    shows: Title = Field("", description="What a check can show of it; left out: nothing")
    lacks: Title = Field("", description="What no check of fwproof can show of it")
    by: list[Annotated[str, Choice(tuple(METHODS))]] = Field(
        default_factory=list, description="What of a policy supports it"
    )
    methods: list[Annotated[str, Choice((_EXAMINE, _TEST))]] = Field(
        default_factory=list, description="How it is shown; left out: as the words of 'by' do"
    )
    review: Annotated[str, Text("a period such as 6 months", r"[1-9][0-9]* (day|week|month|year)s?")] = Field(
        "", description="The period of review that the framework sets"
    )
    with_: _Manager = Field("", alias="with", description="The manager whose hosts it is for; left out: any")


def _entry(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ControlShape.model_validate(value)
    raise wrong(f"expected a control, or the name of one of the texts, not {describe(value)}")


_ENTRY = WithJsonSchema({"anyOf": [{"type": "string"}, ControlShape.model_json_schema()]})


class FrameworkShape(Shape):
    """A framework, or what is added to one that ships with fwproof."""

    title: Title = Field("", description="Its name and version; left out for a framework that ships with fwproof")
    source: Title = Field("", description="Who publishes it")
    manager: _Manager = Field("", description="The manager that its hosts usually have; left out: any")
    controls: dict[ControlId, Annotated[ControlShape | str, PlainValidator(_entry), _ENTRY]] = Field(
        min_length=1, description="Its controls by id: what each is, or the name of one of the texts"
    )


class CatalogueShape(Shape):
    """A file of frameworks."""

    texts: dict[str, ControlShape] = Field(default_factory=dict, description="Controls that several frameworks share")
    frameworks: dict[FrameworkId, FrameworkShape] = Field(min_length=1, description="Frameworks by id")


@cache
def shipped() -> Catalogue:
    """Return the frameworks that ship with fwproof, by id."""
    found: dict[str, Framework] = {}
    folder = resources.files("fwproof.policy") / "controls"
    for name in sorted(each.name for each in folder.iterdir() if each.name.endswith(".yaml")):
        with resources.as_file(folder / name) as path:
            found |= _read(path, found)
    return dict(sorted(found.items()))


def catalogue_of(folder: Path) -> Catalogue:
    """Return what ships with fwproof and what the files of ``folder`` add.

    Raises InputError with every fault of those files.
    """
    found, faults = dict(shipped()), list[Fault]()
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found |= _read(path, found)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return found


def _read(path: Path, known: Catalogue) -> dict[str, Framework]:
    """Return the frameworks of a file, each joined with what is known of it; raises InputError."""
    document = read_document(path)
    shape, _, faults = read_shape(CatalogueShape, document)
    faults = without_echoes(document, faults)
    if shape is not None and not faults:
        faults = list(_faults(document, shape, known))
    if shape is None or faults:
        raise InputError(faults)
    return {id_: _joined(id_, one, shape.texts, known.get(id_)) for id_, one in shape.frameworks.items()}


def _faults(document: Document, shape: CatalogueShape, known: Catalogue) -> Iterator[Fault]:
    """Yield what is wrong between the parts of a file, and between it and what is known."""
    for name, framework in shape.frameworks.items():
        before = known.get(name)
        here = document.key_place(("frameworks", name))
        if before is None and not (framework.title and framework.source):
            lacking = "title" if not framework.title else "source"
            yield document.fault(here, f"{quoted(name)} is not in fwproof's catalogue, so it needs a {lacking}")
        for id_, entry in framework.controls.items():
            keys = ("frameworks", name, "controls", id_)
            if before is not None and before.control(id_):
                place = document.key_place(keys)
                yield document.fault(place, f"{name} {id_} is in fwproof's catalogue already; delete it here")
            if isinstance(entry, str) and entry not in shape.texts:
                advice = suggest(entry, shape.texts) or "; name it under texts, or write the control out"
                yield document.fault(document.place(keys), f"there is no text {quoted(entry)}{advice}")


def _joined(id_: str, shape: FrameworkShape, texts: Mapping[str, ControlShape], before: Framework | None) -> Framework:
    controls = [
        _control(name, texts[entry] if isinstance(entry, str) else entry) for name, entry in shape.controls.items()
    ]
    if before is not None:
        return replace(before, controls=(*before.controls, *controls))
    return Framework(id=id_, title=shape.title, source=shape.source, controls=tuple(controls), manager=shape.manager)


def _control(id_: str, shape: ControlShape) -> Control:
    used = {method for word in shape.by for method in METHODS[word]}
    methods = shape.methods or [method for method in (_EXAMINE, _TEST) if method in used]
    return Control(
        id=id_, text=shape.is_, shows=shape.shows, lacks=shape.lacks, methods=tuple(methods), by=tuple(shape.by),
        review=shape.review, section=shape.with_,
    )  # fmt: skip


def control_faults(document: Document, catalogue: Catalogue) -> list[Fault]:
    """Return a fault for every framework and control that a policy names and the catalogue has not.

    They are found where they stand, whatever expectation they belong to; one of an alias comes as often as it is used.
    """
    return [
        fault
        for node in _named(document.root)
        for framework, ids in (node.value.items() if isinstance(node.value, dict) else ())
        for fault in _unknown(document, node, framework, ids, catalogue)
    ]


def _named(node: Node) -> Iterator[Node]:
    """Yield every value of a key ``controls`` in a document."""
    children: Mapping[str, Node] | dict[int, Node] = {}
    if isinstance(node.value, dict):
        children = node.value
    elif isinstance(node.value, list):
        children = dict(enumerate(node.value))
    for key, child in children.items():
        if key == "controls":
            yield child
        else:
            yield from _named(child)


def _unknown(document: Document, node: Node, framework: str, ids: Node, catalogue: Catalogue) -> Iterator[Fault]:
    known = catalogue.get(framework)
    if known is None:
        advice = suggest(framework, catalogue) or "; `fwproof controls` lists them"
        declare = f"a framework of your own is declared in a *{SUFFIX} beside the policy"
        yield document.fault(
            node.keys[framework], f"the catalogue has no framework {quoted(framework)}{advice} ({declare})"
        )
        return
    for each in ids.value if isinstance(ids.value, list) else ():
        if isinstance(each.value, str) and known.control(each.value) is None:
            advice = suggest(each.value, (control.id for control in known.controls))
            declare = f"one that it lacks is declared in a *{SUFFIX} beside the policy"
            message = f"the catalogue has no control {quoted(each.value)} of {framework}{advice} ({declare})"
            yield document.fault(each.place, message)


def joined(policies: Iterable[Policy]) -> list[Framework]:
    """Return the frameworks that policies name, by id, each once with all its controls.

    Policies of different folders may know more or less of one framework.
    """
    found: dict[str, Framework] = {}
    for framework in (framework for policy in policies for framework in policy.frameworks):
        before = found.get(framework.id, framework)
        more = [control for control in framework.controls if before.control(control.id) is None]
        found[framework.id] = replace(before, controls=(*before.controls, *more))
    return [found[id_] for id_ in sorted(found)]
