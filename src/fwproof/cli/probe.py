"""``fwproof probe``: ad hoc probes, full sweeps and bursts from a vantage of the inventory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from fwproof.audit.adhoc import MOST_BURST, Found, Wish, ends, opened
from fwproof.audit.reading import INVENTORY, one_host
from fwproof.cli.probe_text import document, text
from fwproof.cli.questions import service as parts
from fwproof.cli.saying import safe, say
from fwproof.cli.tables import families_option, inventory_option
from fwproof.errors import UsageError
from fwproof.flow import TCP, UDP, Family, protocol_name
from fwproof.inventory import Inventory
from fwproof.observation import Seen
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.model import Service
from fwproof.probing import portset
from fwproof.probing.agent import SWEEP_PPS
from fwproof.probing.pcap import pcap_bytes
from fwproof.probing.sweep import DEFAULT_PPS


@click.command()
@click.argument("host")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--from", "vantage", required=True, metavar="VANTAGE", help="The host of the inventory to send from.")
@click.option("--sweep", metavar="PROTOCOLS", help="Sweep ports of these protocols: tcp, udp, or tcp,udp.")
@click.option("--ports", metavar="PORTS", help="Sweep only these, such as 22,8000-8100  [default: 1-65535].")
@click.option("--burst", type=click.IntRange(2, MOST_BURST), help="Send so many new connections to each service.")
@click.option("--rate", type=click.IntRange(1, SWEEP_PPS),
              help="Packets a second, at most  [default: HOST's max_pps in the inventory, 5000 at most].")  # fmt: skip
@click.option("--trace", is_flag=True, help="Have HOST tell which rules probes meet (nft trace).")
@families_option
@inventory_option
@click.option("--pcap", type=click.Path(path_type=Path, dir_okay=False), help="Write captured packets to this file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def probe(  # noqa: PLR0913, PLR0917 - one parameter for each option
    host: str, services: tuple[str, ...], vantage: str, sweep: str | None, ports: str | None, burst: int | None,
    rate: int | None, trace: bool,  # noqa: FBT001 - click passes it by name
    family: str | None, inventory: Path | None, pcap: Path | None, form: str,
) -> None:  # fmt: skip
    """Send probes to HOST from a vantage, watch them at both ends, and compare with what HOST's tables say.

    \b
    Examples:
      fwproof probe web1 --from admin tcp/22 udp/53 icmp/echo-request
      fwproof probe web1 --from outside --sweep tcp,udp --family ipv4
      fwproof probe web1 --from admin --burst 25 tcp/11434

    What will be sent is said first. A sweep keeps each packet's own outcome: open, closed, rejected, dropped at the
    host, or never there; what got lost is sent again. Sending stops within a second of Ctrl-C, or when the
    connection to the vantage is lost. A burst comes from the vantage's last address of the family. Of a sweep, the
    file of --pcap has samples of each kind of packet. --trace names each rule that a single probe met, and
    settles what a sweep leaves open; it needs access root, or a line of sudoers (`fwproof agent install --trace`).

    Exit status: 0 wire and tables agree, 1 they do not, 6 something is undecided.
    """
    known = load_inventory(inventory or INVENTORY)
    if trace and burst:
        raise UsageError("--trace is for single probes and sweeps, not for --burst")
    wish = replace(_wish(known, host, services, vantage, sweep, ports, burst, rate, family), trace=trace)
    _announce(wish)
    try:
        with opened(known, wish, lambda line: click.echo(safe(line), err=True)) as run:
            found = run.run()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise SystemExit(130) from None
    if pcap is not None:
        _write(pcap, pcap_bytes(_packets(found)))
    if form == "json":
        click.echo(json.dumps(document(wish, found)))
    else:
        say(text(found))
    raise SystemExit(found.status)


def _wish(  # noqa: PLR0913, PLR0917 - one parameter for each option
    known: Inventory, host: str, services: tuple[str, ...], vantage: str, sweep: str | None, ports: str | None,
    burst: int | None, rate: int | None, family: str | None,
) -> Wish:  # fmt: skip
    names = one_host(known, host), one_host(known, vantage)
    protocols = _protocols(sweep)
    wanted = tuple(_service(text) for text in services)
    if not protocols and not wanted:
        raise UsageError("nothing to send: give services such as tcp/22, or --sweep tcp,udp")
    if ports is not None and not protocols:
        raise UsageError("--ports is for --sweep; single ports are services such as tcp/22")
    if burst and (protocols or not wanted):
        raise UsageError("--burst needs services such as tcp/11434, and no --sweep")
    most = known.hosts[names[0]].max_pps
    if rate is not None and rate > most:
        raise UsageError(f"--rate {rate}: {known.path} lets {names[0]} get {most} packets a second; see max_pps there")
    login = known.hosts[names[0]].ssh.port
    if burst and any(each.proto == "tcp" and each.port == login for each in wanted):
        raise UsageError(f"--burst to tcp/{login} could lock the auditor out: {host} is reached by SSH there")
    return Wish(
        host=names[0], vantage=names[1], families=ends(known, *names, family), services=wanted, protocols=protocols,
        ports=_ports(ports) if protocols else 0, burst=burst or 0, pps=rate or min(DEFAULT_PPS, most),
    )  # fmt: skip


def _protocols(sweep: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(sweep.lower().split(","))) if sweep is not None else ()
    if not set(found) <= {"tcp", "udp"}:
        raise UsageError(f"--sweep {sweep}: expected tcp, udp or tcp,udp")
    return found


def _service(text: str) -> Service:
    """Return a service; UsageError for what no single probe can ask."""
    proto, ranges, types = parts(text, Family.IPV4)
    if proto in {TCP, UDP} and ranges and len(ranges) == 1 and ranges[0][0] == ranges[0][1] > 0:
        return Service(protocol_name(proto), ranges[0][0], text)
    if text.lower() in {"icmp", "icmp/echo-request"} or types == (8,):
        return Service("icmp", None, text, "echo-request")
    raise UsageError(f"{text}: expected one port such as tcp/22 or udp/53, or icmp/echo-request")


def _ports(text: str | None) -> int:
    _, ranges, _ = parts(f"tcp/{text or '1-65535'}", Family.IPV4)
    found = portset.of_ranges(ranges or ())
    if not found or found & ~portset.ALL:
        raise UsageError(f"--ports {text}: expected ports from 1 to 65535, such as 22,8000-8100")
    return found


def _announce(wish: Wish) -> None:
    count, seconds = wish.packets()
    what = []
    if wish.protocols:
        what.append(f"a sweep of {wish.ports.bit_count():,} ports ({', '.join(wish.protocols)})")
    if wish.services:
        kind = f"bursts of {wish.burst}" if wish.burst else "probes"
        what.append(f"{kind} ({', '.join(map(str, wish.services))})")
    click.echo(
        f"sending {' and '.join(what)} to {wish.host} from {wish.vantage} over {' and '.join(wish.families)}: "
        f"{count:,} packets, at most {wish.pps:,} a second, about {seconds:.0f} s; more where packets get lost, "
        "and a reset for each connection that was accepted",
        err=True,
    )


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"--pcap {path}: cannot be written: {error.strerror}") from error


def _packets(found: Found) -> Iterator[Seen]:
    for report in found.sweeps:
        yield from report.swept.samples
    for each in found.probes:
        yield from each.seen.packets
    for burst in found.bursts:
        for one in burst.seen:
            yield from one.packets
