"""``fwproof logs``: the review of a period of drop logs, on one page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from fwproof.cli.logs_host import MOST_MIB, Wanted, read_host
from fwproof.cli.logs_read import read_file, read_text
from fwproof.cli.logs_text import markdown, text
from fwproof.cli.saying import say
from fwproof.cli.tables import Tables, complain, live_host, of_files, of_host, table_options
from fwproof.errors import HostError, UsageError
from fwproof.evidence.log_stamps import SLACK, Clock
from fwproof.hosts.access import LOG_LINES
from fwproof.inventory import Inventory
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.report.clean import visible
from fwproof.review.expected import Expected
from fwproof.review.findings import Known
from fwproof.review.loggers import Loggers
from fwproof.review.page import document
from fwproof.review.period import moment, period_of
from fwproof.review.places import Places
from fwproof.review.review import review
from fwproof.review.tally import Tally
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from fwproof.hosts.transport import Transport

_Files = dict[str, Path | str | None]


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@table_options
@click.option("--policy", "policies", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Expectations: a drop of what they allow is a finding. May be repeated.")  # fmt: skip
@click.option("--since", metavar="WHEN", help="Begin of the period: 7d, 12h, 2w, or a date or time  [default: 7d].")
@click.option("--until", metavar="WHEN", help="End of the period  [default: the end of the log].")
@click.option("--timezone", "zone", default="UTC", show_default=True, metavar="ZONE",
              help="Zone of stamps that name none and of --since, --until: Europe/Berlin, +01:00.")  # fmt: skip
@click.option("--boot", metavar="TIME", help="When the host started, for dmesg's stamps, which count from there.")
@click.option("--outside", multiple=True, metavar="ZONE",
              help="A zone that is not ours  [default: those named outside, internet, …].")  # fmt: skip
@click.option("--most", type=click.IntRange(1, 4096), default=MOST_MIB, show_default=True, metavar="MIB",
              help="MiB of a host's own log to read at most, the newest.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Rows of a table at most.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", help="How to answer."
)
def logs(  # noqa: PLR0913 - one parameter for each option
    *, files: tuple[str, ...], policies: tuple[Path, ...], since: str | None, until: str | None, zone: str,
    boot: str | None, outside: tuple[str, ...], most: int, top: int, form: str, **tables: Path | str | None,
) -> None:  # fmt: skip
    """Review a period of drop logs: who was blocked, who keeps knocking, what should have passed, what fell silent.

    \b
    Examples:
      fwproof logs --host web1 --policy checks/web.policy.yaml
      fwproof logs /var/log/kern.log* --snapshot web1/ --inventory inventory.yaml --policy checks/web.policy.yaml
      journalctl -k -o json --since -14d | fwproof logs - --format markdown

    A FILE may be a syslog file, output of dmesg, of journalctl (-o short, short-iso, json or export), or what ulogd
    writes (LOGEMU or JSON), also compressed with gzip; - is standard input. With a host and no FILE it is the host's
    own drop log with the files that logrotate made of it, as far back as the period and as long again, read as a
    stream for two minutes at most; with a snapshot the lines that were collected. The period ends with the log and is
    cut at full hours; what is earlier is what it is compared with. Zones of --inventory say who is ours; without one,
    private addresses are.
    Findings are drops of what a policy allows, hosts of ours (and the host itself) that keep trying, and rules whose
    hits stopped. Exit status: 0 nothing to act on, 1 findings, 6 no finding, but lines were not understood or there
    were none.
    """
    local = _zone(zone)
    begin = None if since is None else moment(since, local, "--since")
    end = None if until is None else moment(until, local, "--until")
    inventory = _inventory(tables, policies, outside)
    now = time.time()
    clock = Clock(local, now, boot=None if boot is None else _started(boot, local, now + SLACK))
    with ExitStack() as stack:
        snapshot, found, transport = _tables(tables, stack)
        expected = _expected(policies, inventory, None if snapshot is None else snapshot.host)
        loggers = None if found is None else Loggers(found.model)
        known = Known(places=Places(inventory, outside or None), expected=expected, loggers=loggers)
        tally = Tally(known.places.inside, known.allow_of, loggers.buckets() if loggers else {})
        if files or transport is None:
            read = _read(files, snapshot, tally, clock)
        else:
            read = read_host(transport, tally, clock, Wanted(begin, end, most << 20))
    answer = review(tally, period_of(begin, end, tally.dated(), now), known)
    if form == "json":
        click.echo(json.dumps(_visible(document(answer, tally, read))))
    elif form == "text":
        say(text(answer, tally, read, top))
    else:
        say(markdown(answer, tally, read, top), whole=True)
    if answer.acts:
        raise SystemExit(1)
    if answer.weakened:
        raise SystemExit(6)


def _visible(value: Any) -> Any:
    """Return a document whose strings hold no letter that acts or that UTF-8 does not have."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _visible(each) for key, each in value.items()}
    return [_visible(each) for each in value] if isinstance(value, list) else value


def _zone(name: str) -> tzinfo:
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        sign, hours, minutes = name[:1], name[1:3], name[-2:]
        if sign in {"+", "-"} and name[3:-2] in {"", ":"} and (hours + minutes).isdigit() and len(name) >= 5:
            return timezone((1 if sign == "+" else -1) * timedelta(hours=int(hours), minutes=int(minutes)))
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError) as error:
        raise UsageError(f"--timezone {name}: expected a zone such as UTC, Europe/Berlin or +01:00") from error


def _started(text: str, zone: tzinfo, latest: float) -> float:
    try:
        when = datetime.fromisoformat(text)
        time_ = (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--boot {text}: expected a time such as 2026-11-18T06:02:11 (uptime -s prints it)") from error
    if time_ > latest:
        raise UsageError(f"--boot {text}: that is in the future")
    return time_


def _inventory(tables: _Files, policies: Sequence[Path], outside: Sequence[str]) -> Inventory | None:
    """Load the inventory where something needs it; that of a live host stays with the tables' options."""
    given = tables["inventory"]
    if tables["host"] is None:
        tables["inventory"] = None
        if given is None and not policies and not outside:
            return None
    if given is None:
        from fwproof.audit.reading import INVENTORY

        given = INVENTORY
    found = load_inventory(Path(given))
    for name in outside:
        if name not in found.zones:
            raise UsageError(f"--outside {name}: {found.path} has no such zone; it has {', '.join(found.zones)}")
    return found


def _tables(options: _Files, stack: ExitStack) -> tuple[Snapshot | None, Tables | None, Transport | None]:
    """Return the snapshot that was read or given, the tables, and the way to a live host for as long as the stack."""
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    inventory = given.pop("inventory", None)
    if not given:
        return None, None, None
    if len(given) > 1 and given.keys() & {"host", "snapshot"}:
        raise UsageError("give one of --host, --snapshot and files: tables of different places make no host")
    snapshot: Snapshot | None = None
    transport: Transport | None = None
    if "host" in given:
        snapshot, transport = stack.enter_context(live_host(str(given["host"]), inventory))
        found = of_host(snapshot, None, snapshot.host)
    elif "snapshot" in given:
        from fwproof.hosts import replay

        snapshot = replay.load(Path(given["snapshot"]))
        found = of_host(snapshot, None, str(given["snapshot"]))
    else:
        found = of_files(given, None)
    complain(found)
    return snapshot, found, transport


def _expected(policies: Sequence[Path], inventory: Inventory | None, host: str | None) -> Expected | None:
    if not policies:
        return None
    assert inventory is not None
    return Expected([load_policy(path, inventory) for path in policies], inventory, host)


def _read(files: Sequence[str], snapshot: Snapshot | None, tally: Tally, clock: Clock) -> list[str]:
    """Count every line of the log; return the names of what was read."""
    if files:
        if len(set(files)) < len(files):
            raise UsageError("a FILE is given twice, and its lines would count twice")
        for name in files:
            read_file(name, tally, clock)
        return list(files)
    if snapshot is None:
        raise UsageError("no log: give FILE... (- is standard input), --host NAME or --snapshot FOLDER")
    if "drop-log" not in snapshot.captures and "drop-log" not in snapshot.faults:
        raise UsageError(f"{snapshot.host}: the inventory names no drop log: add `drop_log: FILE`, or give FILE...")
    log = snapshot.text("drop-log")
    capture = snapshot.captures["drop-log"]
    if capture.status != 0:
        raise HostError(snapshot.host, f"its drop log cannot be read: {capture.stderr.strip()}",
                        "let the auditor's account read it, for instance through group adm")  # fmt: skip
    try:
        clock = clock.at_most(datetime.fromisoformat(capture.at).timestamp())
    except (ValueError, OverflowError) as error:
        words = f"its drop log was collected at {capture.at!r}, which is no time"
        raise HostError(snapshot.host, words, "collect it again") from error
    read_text(log, tally, clock)
    newest = log.count("\n") >= int(LOG_LINES)
    return [f"the drop log of {snapshot.host}" + (f" (its newest {LOG_LINES}: there may be more)" if newest else "")]
