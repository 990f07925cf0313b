"""From an inventory file to a :class:`fwproof.inventory.Inventory`, or to every fault that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fwproof.errors import Fault, InputError
from fwproof.inventory import Access, AgentPin, Authorisation, Host, Inventory, SshAddress, Zone, ZoneLimits
from fwproof.policy.ansible import AnsibleHost, load_ansible
from fwproof.policy.ansible_merge import with_ansible
from fwproof.policy.document import Document, Keys, read_document
from fwproof.policy.faults import read_shape, without_echoes
from fwproof.policy.inventory_shapes import AgentShape, HostShape, InventoryShape
from fwproof.policy.mistaken import refuse_policy
from fwproof.policy.nearest import suggest
from fwproof.policy.references import ANYWHERE
from fwproof.policy.scalars import quoted
from fwproof.policy.ssh_config import SshConfig, load_ssh_config
from fwproof.policy.ways import Ways


def load_inventory(path: Path) -> Inventory:
    """Read an inventory file.

    Relative paths in it count from its own folder and ``~`` is the caller's home. In an inventory that names
    a lab, an ``identity_file`` or ``known_hosts`` that is left out stays None: they are the lab's own.
    Raises :class:`fwproof.errors.InputError` with every fault found.
    """
    return inventory_of(read_document(path))


def inventory_of(document: Document, *, here: bool = True) -> Inventory:
    """Return the inventory in a document that has been read; raise InputError as :func:`load_inventory` does.

    ``here`` False: it is of another machine, and files that it names need not exist.
    """
    refuse_policy(document)
    ansible = _ansible(document)
    whole = with_ansible(document, ansible)
    shape, rest, faults = read_shape(InventoryShape, whole)
    faults = without_echoes(whole, faults)
    if shape is not None:
        faults += _relation_faults(whole, rest, shape, here=here)
    if shape is None or faults:
        raise InputError(faults)
    ways = Ways(shape, partial(_path, document), ansible, _config(document, shape), partial(_host_fault, whole))
    groups = _groups(shape)
    return Inventory(
        path=document.path,
        sha256=document.sha256,
        hosts={name: _host(whole, shape, name, ways.of(name), ansible.get(name)) for name in shape.hosts},
        zones={name: Zone(name=name, networks=tuple(networks)) for name, networks in shape.zones.items()},
        lab=_path(document, shape.lab) if shape.lab else None,
        auditor=shape.auditor or None,
        groups=groups,
        authorisation=_authorisation(shape, groups),
        signing_key=_path(document, shape.signing_key) if shape.signing_key else None,
        further=tuple(_path(document, named) for named in (shape.ansible, shape.ssh_config) if named),
        at_once=shape.limits.at_once,
        limits={
            name: ZoneLimits(limit.at_once or None, limit.vantages or None)
            for name, limit in shape.limits.zones.items()
        },
    )


def _ansible(document: Document) -> dict[str, AnsibleHost]:
    node = document.root.child("ansible")
    named = node.value if node is not None else None
    return load_ansible(_path(document, named)) if isinstance(named, str) and named else {}


def _config(document: Document, shape: InventoryShape) -> SshConfig | None:
    return load_ssh_config(_path(document, shape.ssh_config)) if shape.ssh_config else None


def _host_fault(document: Document, name: str, message: str) -> Fault:
    return _at(document, ("hosts", name), f"{quoted(name)}: {message}")


def _authorisation(shape: InventoryShape, groups: Mapping[str, tuple[str, ...]]) -> Authorisation | None:
    given = shape.authorisation
    if given is None:
        return None
    named = {host for name in given.hosts or shape.hosts for host in groups.get(name, (name,))}
    return Authorisation(
        by=given.by, reference=given.reference, hosts=tuple(name for name in shape.hosts if name in named),
        opens=given.opens, closes=given.closes, tester=given.tester, independence=given.independence,
    )  # fmt: skip


def _groups(shape: InventoryShape) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for name, host in shape.hosts.items():
        for group in dict.fromkeys(host.groups):
            groups[group] = (*groups.get(group, ()), name)
    return groups


def _host(document: Document, shape: InventoryShape, name: str, ssh: SshAddress, theirs: AnsibleHost | None) -> Host:
    host = shape.hosts[name]
    access = Access(host.access or shape.defaults.access)
    place = document.key_place(("hosts", name))
    origin = (theirs.file, theirs.line) if theirs and place == document.key_place(("ansible",)) else None
    file, line = origin or (document.file, place.line)
    return Host(
        name=name,
        addresses=tuple(host.addresses),
        ssh=ssh,
        access=access,
        agent=_pin(host.agent or shape.defaults.agent) if access is Access.OBSERVE else None,
        groups=tuple(dict.fromkeys(host.groups)),
        vantage=_is_vantage(shape, host),
        drop_log=host.drop_log or None,
        gateway=host.gateway or None,
        max_pps=host.max_pps or shape.defaults.max_pps,
        file=file,
        line=line,
    )


def _pin(agent: AgentShape | None) -> AgentPin | None:
    return None if agent is None else AgentPin(path=agent.path, sha256=agent.sha256)


def _is_vantage(shape: InventoryShape, host: HostShape) -> bool:
    return shape.defaults.vantage if host.vantage is None else host.vantage


def _path(document: Document, text: str) -> Path:
    # not Path.expanduser(): that raises where a user's home cannot be found
    home = Path.home() / text.removeprefix("~/") if text.startswith("~/") else Path(text)
    return home if home.is_absolute() else document.path.parent / home


def _relation_faults(document: Document, rest: Document, shape: InventoryShape, *, here: bool) -> list[Fault]:
    """Return what is wrong between the parts; ``rest`` is what ``shape`` was made of."""
    return [
        *_lab_faults(document, shape, here=here),
        *_authorisation_faults(document, rest, shape),
        *_host_faults(document, rest, shape),
        *_name_faults(rest, shape),
        *_address_faults(rest, shape),
    ]


def _at(document: Document, keys: Keys, message: str) -> Fault:
    return document.fault(document.key_place(keys), message)


def _lab_faults(document: Document, shape: InventoryShape, *, here: bool) -> Iterator[Fault]:
    hosts = document.plain().get("hosts")
    if not hosts and not document.faults:
        yield _at(document, ("hosts",), "the inventory has no hosts; name at least one")
    if here and shape.lab and not _path(document, shape.lab).is_file():
        yield _at(document, ("lab",), f"there is no topology file {quoted(str(_path(document, shape.lab)))}")
    if shape.lab and not shape.auditor:
        yield _at(document, ("lab",), "a lab needs 'auditor', the host whose network the audit runs in")
    if shape.auditor and not shape.lab:
        yield _at(document, ("auditor",), "'auditor' is a host of a lab, and no 'lab' is named; leave it out")
    if shape.auditor and isinstance(hosts, dict) and shape.auditor not in hosts:
        message = f"there is no host {quoted(shape.auditor)} below{suggest(shape.auditor, hosts)}"
        yield document.fault(document.place(("auditor",)), message)


def _authorisation_faults(document: Document, rest: Document, shape: InventoryShape) -> Iterator[Fault]:
    given = shape.authorisation
    if given is None:
        return
    known = [*shape.hosts, *_groups(shape)]
    for index, name in enumerate(given.hosts or ()):
        if name not in known:
            message = f"there is no host or group {quoted(name)}{suggest(name, known)}"
            yield rest.fault(rest.place(("authorisation", "hosts", index)), message)
    if given.opens is not None and given.closes is not None and given.opens >= given.closes:
        yield _at(document, ("authorisation", "to"), "the window ends before it begins; see 'from'")


def _host_faults(document: Document, rest: Document, shape: InventoryShape) -> Iterator[Fault]:
    written, left = document.plain(), rest.plain()
    for name, host in shape.hosts.items():
        whole = written["hosts"][name] == left["hosts"][name] and written.get("defaults") == left.get("defaults")
        if not whole or document.faults:
            # what is lacking here may be what could not be read
            continue
        access = host.access or shape.defaults.access
        if access == "observe" and host.agent is None and shape.defaults.agent is None:
            message = "access observe needs 'agent' with its path and sha256, here or under 'defaults'"
            yield _at(document, ("hosts", name), f"{quoted(name)}: {message}")
        if access == "read" and _is_vantage(shape, host):
            message = "access read cannot send probes; give it observe or root, or 'vantage: false'"
            yield _at(document, ("hosts", name), f"{quoted(name)}: {message}")


def _name_faults(document: Document, shape: InventoryShape) -> Iterator[Fault]:
    for name, host in shape.hosts.items():
        if host.gateway and (host.gateway not in shape.hosts or host.gateway == name):
            others = [other for other in shape.hosts if other != name]
            message = f"there is no other host {quoted(host.gateway)}{suggest(host.gateway, others)}"
            yield document.fault(document.place(("hosts", name, "gateway")), message)
        for index, group in enumerate(host.groups):
            if group in shape.hosts:
                message = f"group {quoted(group)} has the name of a host; choose another"
                yield _at(document, ("hosts", name, "groups", index), message)
        if name in shape.zones and not all(any(a in n for n in shape.zones[name]) for a in host.addresses):
            message = f"zone {quoted(name)} has the name of a host and lacks an address of it; choose another"
            yield _at(document, ("zones", name), message)
    for zone in shape.limits.zones:
        if zone not in shape.zones:
            message = f"there is no zone {quoted(zone)}{suggest(zone, shape.zones)}"
            yield _at(document, ("limits", "zones", zone), message)
    for keys in (("zones", ANYWHERE), ("hosts", ANYWHERE)):
        if document.existing(keys) == keys:
            yield _at(document, keys, f"{quoted(ANYWHERE)} means every address already; choose another name")


def _address_faults(document: Document, shape: InventoryShape) -> Iterator[Fault]:
    owners: dict[object, str] = {}
    for name, host in shape.hosts.items():
        for index, address in enumerate(host.addresses):
            if address in owners:
                message = f"address {address} is that of {quoted(owners[address])} already"
                yield document.fault(document.place(("hosts", name, "addresses", index)), message)
            owners.setdefault(address, name)
