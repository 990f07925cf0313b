"""``fwproof gate``: tables that are to be deployed, judged before they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fwproof.audit.waivers import RunWaivers
from fwproof.cli.diff import LIVE, read_side
from fwproof.cli.gate_json import document
from fwproof.cli.gate_text import markdown, text, workflow_commands
from fwproof.cli.saying import say
from fwproof.cli.tables import Tables, complain, families_option, file_options, live, of_files, read_text
from fwproof.errors import UsageError
from fwproof.flow import Family
from fwproof.gating.answers import Answers
from fwproof.gating.candidate import Candidate, from_scripts, placed
from fwproof.gating.commits import Loaded, beneath, flushes, in_turn, restored
from fwproof.gating.folders import tables_of_folder
from fwproof.gating.gate import Asked
from fwproof.gating.gate import gate as ask
from fwproof.gating.loading import through_kernel
from fwproof.gating.record import record
from fwproof.gating.script import read_whole
from fwproof.gating.states import State
from fwproof.gating.ways import ManagementPath, ways_of
from fwproof.gating.written import places
from fwproof.inventory import Inventory
from fwproof.planning.plan import plan
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.model import Policy
from fwproof.policy.waivers import Waiver
from fwproof.report.write import write_run
from fwproof.semantics.model import HostModel

_Files = Mapping[str, Path | None]
_FORMS = ["text", "json", "markdown", "github"]
_SIDE = ("addresses", "routes", "sysctls")


@click.command()
@click.option("--policy", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What is expected.")
@click.option("--for", "host", metavar="NAME", help="The host that the tables are for, where the policy has several.")
@click.option("--inventory", type=click.Path(path_type=Path), default=Path("fixtures/inventory.yaml"),
              show_default=True, help="Zones, and the addresses of hosts; nobody is connected to.")  # fmt: skip
@file_options
@click.option("--script", "scripts", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A script of iptables and ip6tables commands, followed on the tables of --against. May be"
              " repeated; they run in turn.")  # fmt: skip
@click.option("--nft", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A script for nft -f; without `flush ruleset`, onto what runs. May be repeated.")  # fmt: skip
@click.option("--ufw", type=click.Path(path_type=Path), metavar="DIR", help="A copy of /etc/ufw (and default/ufw).")
@click.option("--firewalld", type=click.Path(path_type=Path), metavar="DIR", help="A copy of /etc/firewalld.")
@click.option("--twin-script", is_flag=True,
              help="Run --script as it is, in a kernel of its own without a way out.")  # fmt: skip
@click.option("--against", multiple=True, metavar="PLACE",
              help="What runs now: a folder, a file or host:NAME, as for diff. May be repeated.")  # fmt: skip
@click.option("--management", multiple=True, metavar="FROM:SERVICE",
              help="A way in that has to stay open  [default: whom the policy lets in to SSH].")  # fmt: skip
@families_option
@click.option("--no-twin", is_flag=True, help="Ask no kernel: prove only.")
@click.option("--mutation-seconds", "seconds", type=click.FloatRange(0), default=20.0, show_default=True,
              help="Try slips in the rules for so long; 0 for none.")  # fmt: skip
@click.option("--min-score", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="Fail where expectations notice fewer of them.")  # fmt: skip
@click.option("--reports", type=click.Path(path_type=Path), help="Write results.json, junit.xml and evidence here.")
@click.option("--format", "form", type=click.Choice(_FORMS), default="text", help="How to answer.")
def gate(  # noqa: PLR0913 - one parameter for each option
    *, policy: Path, host: str | None, inventory: Path, scripts: tuple[Path, ...], nft: tuple[Path, ...],
    ufw: Path | None, firewalld: Path | None, twin_script: bool, against: tuple[str, ...],
    management: tuple[str, ...], family: str | None, no_twin: bool, seconds: float, min_score: float | None,
    reports: Path | None, form: str, **files: Path | None,
) -> None:  # fmt: skip
    """Judge tables before they are deployed: no host is needed, and none is touched.

    \b
    Examples:
      fwproof gate --policy checks/web.policy.yaml --for web1 --iptables-save rules.v4 --ip6tables-save rules.v6
      fwproof gate --policy checks/web.policy.yaml --for web1 --script firewall.sh --against baseline/web1
      fwproof gate --policy checks/web.policy.yaml --nft nftables.conf --format github

    \b
    The policy, proved on the tables and tried with packets in a kernel of their own; the difference to what runs; the
    way by which the host is managed, at every moment; slips in the rules that no expectation would notice.
    Exit status: 0 it may go · 1 it must not · 4 bad input · 5 nothing was tested · 6 something could not be told
    """
    known = load_inventory(inventory)
    expected = load_policy(policy, known)
    name = _host_of(expected, host)
    before = _before(against, family, inventory)
    sources = {"script": scripts, "nft": nft, "ufw": ufw, "firewalld": firewalld}
    candidate = _candidate(sources, files, family, before, against, twin_script=twin_script)
    sides = {key: read_text(path) for key in _SIDE if (path := files.get(key)) is not None}
    candidate = placed(candidate, known.hosts[name], sides, router=bool(expected.forward))
    complain(Tables(candidate.model, list(candidate.given), f"{name}: "))
    wanted = tuple(Family) if family is None else (Family(family),)
    asked = Asked(
        policy=expected, inventory=known, host=name, families=wanted,
        ways=_ways(expected, known, name, management, wanted), twin=not no_twin, seconds=seconds,
        at_least=None if min_score is None else min_score / 100, waivers=_waivers(expected, known),
    )  # fmt: skip
    found = ask(asked, candidate, lambda line: click.echo(line, err=True))
    if reports is not None:
        results, evidence = record(found, Path.cwd(), inventory)
        click.echo(f"report: {write_run(results, evidence, reports)}", err=True)
    if form == "json":
        click.echo(json.dumps(document(found)))
    elif form == "text":
        say(text(found))
    else:
        click.echo(markdown(found) if form == "markdown" else "\n".join(workflow_commands(found)))
    raise SystemExit(found.status)


def _waivers(policy: Policy, inventory: Inventory) -> tuple[Waiver, ...]:
    """Return the waivers beside a policy; raises InputError with every fault of their file."""
    known = RunWaivers(None)
    known.read_for(policy, inventory)
    known.checks(policy, plan(policy, inventory))
    return tuple(each for file in known.files.values() for each in file.waivers if each.policy == policy.name)


def _host_of(policy: Policy, host: str | None) -> str:
    if host is not None and host not in policy.hosts:
        raise UsageError(f"--for {host}: the policy {policy.name} is about {', '.join(policy.hosts)}")
    if host is None and len(policy.hosts) != 1:
        raise UsageError(
            f"the policy {policy.name} is about {', '.join(policy.hosts)}: --for NAME says which one it is"
        )
    return host or policy.hosts[0]


def _ways(
    policy: Policy, inventory: Inventory, name: str, named: Sequence[str], families: Sequence[Family]
) -> tuple[ManagementPath, ...]:
    found = ways_of(policy, inventory, inventory.hosts[name], named)
    return tuple(way for way in found if way.flow.family in families)


# ---- what is read


def _before(places: Sequence[str], family: str | None, inventory: Path) -> HostModel | None:
    """Return the tables that run, None where no place says which."""
    if not places:
        return None
    names = [place.removeprefix(LIVE) for place in places if place.startswith(LIVE)]
    hosts = live(names, inventory) if names else {}
    sides = [read_side(place, family, hosts) for place in places]
    model = sides[0].model
    for other in sides[1:]:
        clash = {f for f in Family if model.rulesets.get(f) and other.model.rulesets.get(f)}
        if clash:
            raise UsageError(f"--against: two places have tables of {' and '.join(sorted(clash))}")
        model = replace(
            model, rulesets={f: model.rulesets.get(f) or other.model.rulesets.get(f, ()) for f in Family},
            blind={f: (model if model.rulesets.get(f) else other.model).blind.get(f, ()) for f in Family},
        )  # fmt: skip
    rulesets = {family: sets for family, sets in model.rulesets.items() if sets}
    return replace(model, rulesets=rulesets)


def _candidate(  # noqa: PLR0913 - what is deployed, and onto what
    sources: Mapping[str, Any], files: _Files, family: str | None, running: HostModel | None,
    against: Sequence[str], *, twin_script: bool,
) -> Candidate:  # fmt: skip
    tables = {key: path for key, path in files.items() if path is not None and key not in _SIDE}
    given = [f"--{key}" for key, value in sources.items() if value] + (["files of tables"] if tables else [])
    if len(given) != 1:
        kinds = "--iptables-save and --ip6tables-save, --nft-json, --nft, --script, --ufw or --firewalld"
        raise UsageError(f"give the candidate in one form ({kinds}), found {' and '.join(given) or 'none'}")
    if twin_script and not sources["script"]:
        raise UsageError("--twin-script says how --script is read: give --script FILE as well")
    if sources["script"]:
        return _of_scripts(sources["script"], running, executed=twin_script)
    if tables:
        return _loaded({key: read_text(path) for key, path in tables.items()}, tables, family, running)
    if sources["nft"]:
        return _of_nft([(str(path), read_text(path)) for path in sources["nft"]], running, against)
    front = "ufw" if sources["ufw"] else "firewalld"
    loaded = tables_of_folder(front, sources[front], lambda line: click.echo(line, err=True))
    names = {key: f"{sources[front]} ({key})" for key in loaded.texts}
    found = replace(_from_texts(loaded.texts, names, running), told=loaded.told)
    made = found.front(found.model)
    return found if made is None else replace(found, places=places(sources[front], found.model, made))


def _of_scripts(paths: Sequence[Path], running: HostModel | None, *, executed: bool) -> Candidate:
    if not executed:
        answers = Answers(running)
        return from_scripts([read_whole(read_text(path), str(path), answers) for path in paths], running)
    if running is not None:
        raise UsageError("--twin-script runs a script on empty tables: leave --against away, or write commands only")
    whole = "\n".join(read_text(path) for path in paths)
    (texts,) = through_kernel([(" and ".join(map(str, paths)), whole)], by_sh=True)
    found = _from_texts(texts, {key: f"{paths[0]} ({key})" for key in texts}, None)
    word = "the script was run as it is, on empty tables: the states between its commands are not known"
    return replace(found, assumed=(word,))


def _of_nft(scripts: Sequence[tuple[str, str]], running: HostModel | None, against: Sequence[str]) -> Candidate:
    under = beneath(running, _nft_of(running, against)) if running is not None and not flushes(scripts) else {}
    keys = ("iptables_save", "ip6tables_save", "nft_json") if under else ("nft_json",)
    texts = [{key: each[key] for key in keys} for each in through_kernel(scripts, under)]
    models = [HostModel.build(**text, sources={"nft_json": name})
              for text, (name, _) in zip(texts, scripts, strict=True)]  # fmt: skip
    loaded = in_turn(running, scripts, models, under)
    return Candidate(
        states=loaded.states, given=tuple(Family), texts=texts[-1], sources={"nft_json": scripts[-1][0]},
        under=loaded.under, nft=tuple(scripts), assumed=loaded.assumed, before=running,
    )  # fmt: skip


def _nft_of(running: HostModel, places: Sequence[str]) -> str | None:
    """Return what nft lists of the tables that run, None where nobody has asked it."""
    captures = running.read_from[0].captures if running.read_from else {}
    found = [captures["nft"].stdout] if "nft" in captures else []
    for path in (Path(place) for place in places if not place.startswith(LIVE) and not captures):
        files = [path] if path.is_file() else [each for each in (path / "nft.json", path / "nft.txt") if each.is_file()]
        found += [text for each in files if (text := read_text(each)).lstrip().startswith("{")]
    return found[0] if found else None


def _loaded(
    texts: dict[str, str], paths: Mapping[str, Path], family: str | None, running: HostModel | None
) -> Candidate:  # fmt: skip
    found = of_files(paths, family)
    return _at_once(found.model, found.families, texts, {key: str(path) for key, path in paths.items()}, running)


def _from_texts(texts: Mapping[str, str], sources: Mapping[str, str], running: HostModel | None) -> Candidate:
    model = HostModel.build(**texts, sources=dict(sources))
    return _at_once(model, list(Family), texts, sources, running)


def _at_once(
    model: HostModel, families: Sequence[Family], texts: Mapping[str, str], sources: Mapping[str, str],
    running: HostModel | None,
) -> Candidate:  # fmt: skip
    """Return a candidate that is loaded from files: what is before it, the states between their tables, and then it."""
    loaded = Loaded(states=(State(0, None, model),))
    if running is not None and all(family in running.rulesets for family in families):
        loaded = restored(running, model, texts, sources)
    return Candidate(
        states=loaded.states, given=tuple(families), texts=texts, sources=sources, under=loaded.under,
        assumed=loaded.assumed, before=running,
    )  # fmt: skip
