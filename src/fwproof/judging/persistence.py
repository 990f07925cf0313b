"""Judging persistence: something loads saved rules at boot, and they mean the same as the running ones.

What boots is put together from the files of every loader, and compared with what runs: rule by rule first, and where
that differs over all packets, so that other words for the same meaning pass and every difference has a packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.boot_tables import BootTables, boot_tables, units_of
from fwproof.frontends.guests import for_docker, forwards_as, without_guests
from fwproof.frontends.recognise import Manager
from fwproof.judging.changes import told
from fwproof.judging.persistence_managed import judge_firewalld, ufw_differences
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.ruleset.model import Rule
from fwproof.semantics.compare import by_rule, meaning
from fwproof.semantics.diff import Kind, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.runtime import without_bans
from fwproof.semantics.space import SpaceTooLarge
from fwproof.snapshot import Snapshot

_SHOWN = 4
_NONE = "no service that loads rules is enabled, so after a reboot the host has no rules at all"
_MENDS = {
    "ufw": "`ufw reload` loads what ufw keeps, and drops the rest",
    "nftables": "write what should stay to {path}, and load it with `nft -f {path}`",
    "netfilter-persistent": "apt-get install iptables-persistent; netfilter-persistent save (writes {path})",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """Differences between what runs and what boots: what is certain, what is not known, and remarks."""

    certain: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


def judge_persistence(check: Check, facts: Facts) -> Outcome:
    """Judge one family: who restores rules at boot, what is saved, and how it differs from what runs."""
    assert check.family is not None
    managed = judge_firewalld(check, facts)
    if managed is not None:
        return managed
    family, snapshot = check.family, facts.snapshot(check.host)
    boot = boot_tables(snapshot, family)
    live = facts.model(check.host)
    if boot.nothing and not boot.problems:
        if units_of(snapshot).unread:
            boot.gaps += [f"{path} is run at boot and cannot be read" for path in units_of(snapshot).unread]
            return _outcome(boot, [], _Compared(), "")
        return _outcome(boot, [_NONE, *_files_that_nobody_loads(snapshot, family, boot)], _Compared(), "")
    # where a part of what boots is not known, what differs without it says nothing
    compared = _Compared() if boot.gaps else _compared(live, _booted(live, boot, snapshot, family), family)
    front = facts.front_ends.get(check.host)
    named = ufw_differences(front, family, snapshot) if front is not None and "ufw" in boot.names else []
    problems = [*boot.problems, *named]
    problems += [f"what is saved differs from what runs: {each}" for each in compared.certain[:1]]
    problems += compared.certain[1:]
    if problems:
        problems += _files_that_nobody_loads(snapshot, family, boot)
    return _outcome(boot, problems, compared, named[0] if named else "")


def _outcome(boot: BootTables, problems: Sequence[str], compared: _Compared, rule: str) -> Outcome:
    gaps = [*boot.gaps, *compared.unclear]
    verdict = Verdict.FAIL if problems else Verdict.INCONCLUSIVE if gaps else Verdict.PASS
    reasons = problems or gaps
    lost = not boot.names or (boot.nothing and bool(boot.problems))
    cause = {Verdict.FAIL: "nothing survives a reboot" if lost else "saved and running rules differ",
             Verdict.INCONCLUSIVE: "what boots is not known as a whole", Verdict.PASS: ""}[verdict]  # fmt: skip
    good = "; ".join([*boot.loads, "it means the same as what runs", *compared.notes])
    told_ = "; ".join(reasons[:_SHOWN]) + (f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else "")
    return Outcome(
        verdict=verdict, reason=told_ or good, cause=cause, fix=_fix(boot) if problems else "",
        proved=f"{len(compared.certain)} differences in meaning between what boots and the running tables"
        if boot.loads else "nothing is saved that could be compared",
        observed=f"enabled at boot: {', '.join(dict.fromkeys(boot.names)) or 'no rule loader'}",
        attributed="; ".join(boot.loads), rule=rule or boot.path,
        evidence=(*boot.loads, *problems, *gaps, *compared.rules, *compared.notes),
    )  # fmt: skip


def _fix(boot: BootTables) -> str:
    name = next((name for name in _MENDS if name in boot.names), "" if boot.names else "netfilter-persistent")
    path = boot.path or "/etc/iptables/rules.v4 and rules.v6"
    mend = _MENDS.get(name, "save what should stay to {path}, where it is loaded from")
    return mend.format(path=path)


def _files_that_nobody_loads(snapshot: Snapshot, family: Family, boot: BootTables) -> list[str]:
    name = "rules.v6" if family is Family.IPV6 else "rules.v4"
    saved = snapshot.captures.get(name)
    if saved is None or name in snapshot.faults or not saved.stdout.strip() or f"/etc/iptables/{name}" == boot.path:
        return []
    who = f"{' and '.join(dict.fromkeys(boot.names))} is what is loaded at boot" if boot.names else "nothing loads it"
    return [f"/etc/iptables/{name} exists, but {who}"]


def _booted(live: HostModel, boot: BootTables, snapshot: Snapshot, family: Family) -> HostModel:
    """Return the host as it would be after a boot: its own addresses and routes, with the tables that are loaded."""
    text = boot.text or ("" if boot.nft_json is not None else "*filter\nCOMMIT\n")
    key = "ip6tables_save" if family is Family.IPV6 else "iptables_save"
    sets = snapshot.captures.get("ipset-save")
    built = HostModel.build(
        **{key: text} if text else {}, nft_json=boot.nft_json,
        ipset_save=sets.stdout if sets is not None and "ipset-save" not in snapshot.faults else None,
        sources={key: boot.path, "nft_json": boot.path},
    )  # fmt: skip
    rulesets = {**live.rulesets, family: built.rulesets.get(family, ())}
    return replace(live, rulesets=rulesets, blind={**live.blind, family: built.blind.get(family, ())})


def _compared(live: HostModel, booted: HostModel, family: Family) -> _Compared:
    docker = [f"only {side}: {rule.ref}" for side, rule in _for_docker(live, booted, family)]
    live, bans = without_bans(live, family)
    live, guests = without_guests(live, family)
    booted, _ = without_bans(booted, family)
    booted, saved_guests = without_guests(booted, family)
    if Manager.DOCKER in guests:
        booted = forwards_as(booted, live, family)
    notes = [f"{len(bans)} rules of fail2ban's own were left out, which it makes anew"] if bans else []
    both = dict.fromkeys((*guests, *saved_guests))
    notes += [f"the rules of {who} were left out, which it makes anew when it starts" for who in both]
    rules = tuple(by_rule(booted.rulesets.get(family, ()), live.rulesets.get(family, ()), family))
    if not rules:
        unread = tuple(f"not read: {reason}" for reason in live.blind.get(family, ()))
        return _Compared(certain=tuple(docker), unclear=unread, notes=tuple(notes))
    try:
        found = compare(live, booted, family)
    except SpaceTooLarge as limit:
        return _Compared(certain=tuple(docker), unclear=(str(limit),), notes=tuple(notes), rules=rules)
    certain = [told(each, later=True) for each in found.changes if each.kind is not Kind.UNKNOWN]
    certain += [f"a rule with other effects, {_then(effect)}" for effect in found.effects]
    certain += [f"{found.unlisted} more changes"] if found.unlisted else []
    unclear = [told(each, later=True) for each in found.changes if each.kind is Kind.UNKNOWN]
    unclear += [f"not read: {reason}" for reason in found.blind]
    if found.same:
        notes.append(f"{len(rules)} differences in how rules are written decide no packet otherwise")
    return _Compared(certain=(*docker, *certain), unclear=tuple(unclear), notes=tuple(notes), rules=rules)


def _then(effect: str) -> str:
    return effect.replace("only before:", "only running:").replace("only after:", "only saved:")


def _for_docker(live: HostModel, booted: HostModel, family: Family) -> list[tuple[str, Rule]]:
    sides = [for_docker(model, family) for model in (live, booted)]
    known = [{meaning(rule) for rule in side} for side in sides]
    return [("running", rule) for rule in sides[0] if meaning(rule) not in known[1]] + [
        ("saved", rule) for rule in sides[1] if meaning(rule) not in known[0]
    ]
