"""Ansible's hosts as entries of fwproof's own inventory, so that one set of rules reads both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fwproof.policy.ansible import AnsibleHost, refuse_nameless
from fwproof.policy.document import Document, Node, Place


def with_ansible(document: Document, ansible: Mapping[str, AnsibleHost]) -> Document:
    """Return the document with Ansible's hosts under ``hosts``; what it says of a host itself is kept.

    They are given the place of the key ``ansible``. How hosts are reached is not in it (:mod:`fwproof.policy.ways`).
    Raises InputError for a host without an address.
    """
    root = document.root.value
    if not ansible or not isinstance(root, dict):
        return document
    place = document.key_place(("ansible",))
    hosts = root.get("hosts") or Node(place, {}, {})
    if not isinstance(hosts.value, dict):
        return document  # which is refused for that
    defaults = document.plain().get("defaults")
    stated = isinstance(defaults, dict) and "access" in defaults
    values, keys = dict(hosts.value), dict(hosts.keys)
    for name, host in ansible.items():
        values[name] = _entry(values.get(name), host, place, stated=stated)
        keys.setdefault(name, place)
    merged = Node(hosts.place, values, keys)
    whole = Node(document.root.place, {**root, "hosts": merged}, {"hosts": place, **document.root.keys})
    return replace(document, root=whole)


def _entry(own: Node | None, host: AnsibleHost, place: Place, *, stated: bool) -> Node:
    """Return one host's entry; ``stated``: the inventory says what the auditor may do where a host does not."""
    node = own or Node(place, {}, {})
    if not isinstance(node.value, dict):
        return node  # which is refused for that
    added: dict[str, Node] = {}
    if "addresses" not in node.value:
        if not host.ip:
            refuse_nameless(host)
        added["addresses"] = Node(place, [Node(place, host.ip)])
    if host.become and not stated and "access" not in node.value:
        added["access"] = Node(place, "root")
    groups = node.value.get("groups")
    mine = list(groups.value) if groups is not None and isinstance(groups.value, list) else []
    both = [*mine, *(Node(place, group) for group in host.groups)]
    if both and (groups is None or isinstance(groups.value, list)):
        added["groups"] = Node(groups.place if groups else place, both)
    return Node(node.place, {**node.value, **added}, {**dict.fromkeys(added, place), **node.keys})
