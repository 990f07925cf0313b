"""``fwproof init``: a project ready to run, with a draft of a host where one is named."""

from __future__ import annotations

import re
import shlex
import socket
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fwproof.cli.saying import safe, say
from fwproof.cli.scaffold import CHECKS, INVENTORY, Project, summary
from fwproof.cli.tables import inventory_option
from fwproof.errors import HostError, UsageError
from fwproof.plugin import SUFFIX

if TYPE_CHECKING:
    from fwproof.drafting.draft import Drafted, SshLine
    from fwproof.drafting.subject import Subject
    from fwproof.facts import JailFacts
    from fwproof.inventory import Inventory
    from fwproof.snapshot import Snapshot

_PLACE = re.compile(
    r"(?:(?P<user>[a-z_][a-z0-9_.-]*)@)?"
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-fA-F:]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@click.command()
@click.argument("folder", required=False, default=".", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--example", is_flag=True, help="With the demo's policy, inventory and lab: an audit to run at once.")
@click.option(
    "--from-host", metavar="HOST", help="Draft from a live host: [USER@]ADDRESS[:PORT], or a name of the inventory."
)
@click.option("--snapshot", type=click.Path(path_type=Path), help="Draft from a folder that fwproof collect wrote.")
@inventory_option
@click.option("--identity", type=click.Path(path_type=Path), help="The SSH key to log in with  [default: ssh's own].")
def init(  # noqa: PLR0913 - one parameter for each option
    *, folder: Path, example: bool, from_host: str | None, snapshot: Path | None, inventory: Path | None,
    identity: Path | None,
) -> None:  # fmt: skip
    """Write a project into DIR (default: this folder): pyproject.toml, conftest.py, checks/, fixtures/, reports/.

    \b
    Examples:
      fwproof init audit                                   a policy and an inventory to fill in
      fwproof init audit --example                         the lab of the demo, to look around in
      fwproof init audit --from-host auditor@192.0.2.10    drafts of both, from a host as it is
      fwproof init audit --snapshot baseline/web1          the same, offline

    Nothing that is there is replaced. A draft is marked as one (status: draft), and no audit of it passes: it has what
    was seen as comments, allows what is for known networks, and asks about all that is open to the world. HOST is only
    read, by the commands of `fwproof agent sudoers` (tier read), and its key has to be in ~/.ssh/known_hosts.

    \b
    Exit status: 0 written · 4 bad input, or something is in the way · 6 the host could not be looked at
    """
    chosen = [
        word for word, given in (("--example", example), ("--from-host", from_host), ("--snapshot", snapshot)) if given
    ]
    if len(chosen) > 1:
        raise UsageError(f"give one of {' and '.join(chosen)}")
    if inventory is not None and not (from_host or snapshot):
        raise UsageError("--inventory is where the host of --from-host or --snapshot is looked up: give one of them")
    if identity is not None and not from_host:
        raise UsageError("--identity is for --from-host")
    project = Project(folder)
    if from_host or snapshot:
        _drafted(project, from_host, snapshot, inventory, identity)
        return
    full = project.has_rules
    if example and full:
        raise UsageError(f"{folder}: has an inventory or policies of its own; give an empty folder for the example")
    project.frame()
    if example:
        project.example()
    elif not full:
        project.skeleton()
    summary(project, click.echo)
    _next(
        folder,
        "pytest" if example else "fwproof plan",
        "the audit, on the lab" if example else "what an audit would do",
    )


def _next(folder: Path, command: str, what: str) -> None:
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"next: {there}{command}    ({what})")


def _drafted(
    project: Project, from_host: str | None, snapshot: Path | None, inventory: Path | None, identity: Path | None
) -> None:
    from fwproof.drafting.draft import SshLine
    from fwproof.policy.nearest import suggest

    known = _known(project, inventory)
    if snapshot is not None:
        from fwproof.hosts import replay

        read, ssh, jails = replay.load(snapshot), SshLine(), None
    else:
        assert from_host is not None
        _free(project, from_host)
        read, ssh, jails = _live(from_host, known, identity)
    name = read.host if known is not None else _name(read)
    if known is not None and name not in known.hosts:
        where = "add it there first, or draft into an empty folder"
        raise UsageError(f"{known.path}: there is no host {name!r}{suggest(name, known.hosts)}; {where}")
    _free(project, name)
    subject = _subject(read, name, ssh)
    subject = subject if jails is None else replace(subject, jails=jails)
    path = project.root / CHECKS / f"{name}{SUFFIX}"
    made = _draft(subject, known, project, path, ssh)
    project.frame()
    if made.inventory:
        project.add(INVENTORY, made.inventory)
    project.add(CHECKS / path.name, made.policy)
    summary(project, click.echo)
    _questions(made)
    elsewhere = known is not None and known.path.resolve() != (project.root / INVENTORY).resolve()
    more = f" --inventory={shlex.quote(str(inventory.resolve()))}" if elsewhere and inventory is not None else ""
    _next(project.root, f"pytest{more}", "the audit of the draft: it says what is open, and never passes")


def _draft(subject: Subject, known: Inventory | None, project: Project, path: Path, ssh: SshLine) -> Drafted:
    from fwproof.drafting.draft import draft

    return draft(subject, known, inventory_path=project.root / INVENTORY, policy_path=path, ssh=ssh)


def _questions(made: Drafted) -> None:
    count = len(made.questions)
    say([f"{count} open question{'' if count == 1 else 's'} in the draft{':' if count else ''}"])
    say(f"  {each.id}: {each.title}" for each in made.questions)


def _known(project: Project, given: Path | None) -> Inventory | None:
    """Return the inventory that the host is in: the one that was given, or the project's own."""
    from fwproof.policy.inventory_file import load_inventory

    own = project.root / INVENTORY
    if given is None and not own.exists():
        if project.has_rules:
            raise UsageError(
                f"{project.root / CHECKS} has policies and there is no {own}: give --inventory, or another DIR"
            )
        return None
    if given is not None and own.exists() and given.resolve() != own.resolve():
        raise UsageError(f"{own}: the project has an inventory of its own; leave out --inventory, or give another DIR")
    return load_inventory(given or own)


def _free(project: Project, name: str) -> None:
    path = project.root / CHECKS / f"{name}{SUFFIX}"
    if _NAME.fullmatch(name) and path.exists():
        raise UsageError(f"{path}: is there already, and is not replaced; move it, or draft into another folder")


def _live(
    place: str, known: Inventory | None, identity: Path | None
) -> tuple[Snapshot, SshLine, JailFacts | HostError]:
    """Read a host over SSH: one of the inventory by its name, or any by its address; and try fail2ban's filters."""
    from fwproof.audit import reading
    from fwproof.audit.jails import look_once, with_jails
    from fwproof.drafting.draft import SshLine

    if known is not None:
        where, ssh, names = known, SshLine(), [reading.one_host(known, place)]
    else:
        ssh = _ssh(place, identity)
        where, names = _alone(ssh), ["host"]
    with reading.opened(where, names, lambda line: click.echo(line, err=True)) as field:
        found = field.snapshots[names[0]]
        if isinstance(found, HostError):
            raise found
        found = with_jails(field, names[0], found)
        jails = look_once(field, names[0])
    faults = {what: fault for what, fault in found.faults.items() if type(fault).__name__ != "NotThere"}
    if faults:
        click.echo("could not be read, so the draft does not go by it:", err=True)
    for what, fault in faults.items():
        click.echo(safe(f"  {what}: {fault.message}"), err=True)
    return found, ssh, jails


def _ssh(place: str, identity: Path | None) -> SshLine:
    from fwproof.drafting.draft import SshLine

    found = _PLACE.fullmatch(place)
    if found is None or int(found["port"] or 22) > 65535:
        raise UsageError(
            f"--from-host {place}: expected [USER@]ADDRESS[:PORT], or a name of an inventory with --inventory"
        )
    port = int(found["port"]) if found["port"] else None
    return SshLine(
        address=found["host"].strip("[]"), port=port, user=found["user"] or "",
        identity_file=str(identity.expanduser().resolve()) if identity else "",
    )  # fmt: skip


def _alone(ssh: SshLine) -> Inventory:
    """Return an inventory of one host that is not known yet."""
    import yaml

    from fwproof.policy.document import parse_document
    from fwproof.policy.inventory_file import inventory_of

    given = {"address": ssh.address, "port": ssh.port, "user": ssh.user, "identity_file": ssh.identity_file}
    host = {"addresses": [_resolved(ssh.address)], "ssh": {key: value for key, value in given.items() if value}}
    text = yaml.safe_dump({"hosts": {"host": host}})
    return inventory_of(parse_document(text.encode(), file="--from-host", path=Path("inventory.yaml").resolve()))


def _resolved(address: str) -> str:
    """Return the address of a name; raises UsageError for one that has none."""
    try:
        return str(ip_address(address))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(address, None, proto=socket.IPPROTO_TCP)[0][4][0])
    except OSError as error:
        raise UsageError(f"--from-host {address}: has no address: {error.strerror or error}") from error


def _name(read: Snapshot) -> str:
    """Return a name for a host: its own, where that can be one."""
    words = read.captures["uname"].stdout.split() if "uname" in read.captures else []
    own = words[1].partition(".")[0] if len(words) > 1 else ""
    return next((each for each in (own, read.host) if _NAME.fullmatch(each) and each != "any"), "server1")


def _subject(read: Snapshot, name: str, ssh: SshLine) -> Subject:
    from fwproof.audit import reading
    from fwproof.drafting.subject import Subject, audited_addresses
    from fwproof.flow import Family
    from fwproof.frontends.front_end import front_end_of
    from fwproof.semantics.reach import own_of

    model = reading.model_from(read, ())
    known = ip_address(_resolved(ssh.address)) if ssh.address else None
    own = [address for family in Family for address in own_of(model, family)]
    addresses = audited_addresses(model, known if known in own else None)
    if not addresses:
        raise HostError(name, "it has no address that others could reach", "is `ip -j addr` in the snapshot?")
    reading.model_from(read, list(addresses))  # their tables have to be there: without them nothing can be said
    return Subject(name=name, snapshot=read, model=model, front=front_end_of(read, model.rulesets), addresses=addresses)
