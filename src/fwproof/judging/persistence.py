"""Judging persistence: something loads saved rules at boot, and they mean the same as the running ones."""

from __future__ import annotations

from fwproof.errors import CommandRefused, HostError
from fwproof.evidence.boot import Loader, enabled_loaders
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.judging.persistence_managed import judge_managed
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.ruleset.iptables import parse
from fwproof.semantics.compare import same_meaning
from fwproof.snapshot import Snapshot

_SAVED = {Family.IPV4: ("rules.v4", "iptables-save"), Family.IPV6: ("rules.v6", "ip6tables-save")}


def judge_persistence(check: Check, facts: Facts) -> Outcome:
    """Judge one family: who restores rules at boot, what is saved, and how it differs from what runs."""
    assert check.family is not None
    managed = judge_managed(check, facts)
    if managed is not None:
        return managed
    snapshot = facts.snapshot(check.host)
    saved_name, running_name = _SAVED[check.family]
    loaders = enabled_loaders(snapshot.text("boot-links").splitlines())
    running = snapshot.text(running_name)
    saved = _saved_text(snapshot, saved_name)
    path = f"/etc/iptables/{saved_name}"
    problems = _problems(loaders, saved, path)
    differences: tuple[str, ...] = ()
    if saved is not None:
        differences = tuple(same_meaning(parse(saved, check.family, path), parse(running, check.family)))
        if differences:
            problems.append(f"what is saved differs from what runs: {differences[0]}")
    links = tuple(f"{loader.link} loads {loader.loads}" for loader in loaders)
    good = f"{loaders[0].name} loads {path} at boot, and it means the same as what runs" if loaders else ""
    compared = f"{len(differences)} differences in meaning between {path} and the running tables"
    return Outcome(
        verdict=Verdict.FAIL if problems else Verdict.PASS, reason="; ".join(problems) or good,
        cause=_cause(problems, survives=saved is not None and bool(loaders)),
        fix=f"apt-get install iptables-persistent; netfilter-persistent save (writes {path})" if problems else "",
        proved=compared if saved is not None else "nothing is saved that could be compared",
        observed=f"enabled at boot: {', '.join(loader.name for loader in loaders) or 'no rule loader'}",
        attributed="; ".join(links), rule=path, evidence=(*links, *differences),
    )  # fmt: skip


def _cause(problems: list[str], *, survives: bool) -> str:
    if not problems:
        return ""
    return "saved and running rules differ" if survives else "nothing survives a reboot"


def _saved_text(snapshot: Snapshot, name: str) -> str | None:
    """Return the saved rules; None when the host says that there is no such file. Any other fault is raised."""
    fault = snapshot.faults.get(name)
    if isinstance(fault, HostError) and not (isinstance(fault, CommandRefused) and "No such file" in fault.message):
        raise fault
    if fault is not None:
        return None
    text = snapshot.text(name)
    return text if text.strip() else None


def _problems(loaders: tuple[Loader, ...], saved: str | None, path: str) -> list[str]:
    problems = []
    if saved is None:
        problems.append(f"{path} does not exist")
    if not loaders:
        problems.append("no service that loads rules is enabled, so after a reboot the host has no rules at all")
    elif saved is not None and loaders[0].name != "netfilter-persistent":
        problems.append(f"{path} exists, but {loaders[0].name} is what is loaded at boot")
    return problems
