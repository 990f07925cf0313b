"""Judging who manages a host: one front end rules, it is the one that boots, and nobody else decides beside it."""

from __future__ import annotations

from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.recognise import RULERS, Presence
from fwproof.plan import Check
from fwproof.policy.table_model import ANY_ONE, Managers
from fwproof.results import Outcome, Verdict

NO_FIREWALL = "the host has no firewall"
CHOOSE = "Choose a manager: `ufw enable`, `systemctl enable --now firewalld` or `systemctl enable --now nftables`."
_STOPS = {
    "ufw": "ufw disable",
    "firewalld": "systemctl disable --now firewalld",
    "nftables": "systemctl disable --now nftables",
    "iptables": "systemctl disable --now netfilter-persistent",
}


def judge_managers(check: Check, facts: Facts) -> Outcome:
    """Judge a host's managers from its tables and from what it loads at boot; raises HostError."""
    assert isinstance(check.expectation, Managers)
    model = facts.model(check.host)
    facts.snapshot(check.host).text("boot-links")
    present = facts.front_ends[check.host].managers
    wanted = check.expectation.who
    rulers = [each for each in present if each.rules]
    boots = [each for each in present if each.boots and each.manager in RULERS]
    problems, cause = _problems(rulers, boots, wanted)
    gaps = tuple(dict.fromkeys(reason for family in Family for reason in model.blind.get(family, ())))
    names = " and ".join(each.manager for each in rulers) or "nobody"
    guests = [each.manager.value for each in present if each.manager not in RULERS and each.places]
    beside = f"; beside it {', '.join(guests)}, with chains of their own" if guests else ""
    return Outcome(
        verdict=Verdict.FAIL if problems else Verdict.INCONCLUSIVE if gaps else Verdict.PASS, cause=cause,
        reason="; ".join([*problems, *(f"not known who else decides: {reason}" for reason in gaps)])
        or f"{names} decides who gets in, and nobody else{beside}",
        proved=f"{names} decides who gets in" + "".join(f"; {each.manager} at {_few(each.filters)}" for each in rulers),
        observed=f"loaded at boot: {', '.join(each.manager for each in boots) or 'nothing'}",
        attributed="; ".join(each.boots for each in boots), fix=_fix(rulers, boots, wanted) if problems else "",
        evidence=tuple(f"{each.manager}: {_few(each.places, 12)}" for each in present if each.places),
    )  # fmt: skip


def _problems(rulers: list[Presence], boots: list[Presence], wanted: str) -> tuple[list[str], str]:
    problems, causes = [], []
    if not rulers:
        problems.append("no firewall: no table of the host decides who gets in")
        causes.append(NO_FIREWALL)
    if len(rulers) > 1:
        places = "; ".join(f"{each.manager} at {_few(each.filters)}" for each in rulers)
        problems.append(f"{len(rulers)} managers decide who gets in, each without knowing of the other: {places}")
        causes.append(f"{' and '.join(each.manager for each in rulers)} both filter")
    for each in rulers:
        if {"nft", "legacy"} <= each.views:
            problems.append(
                f"{each.manager} has rules in iptables-legacy and in iptables-nft, and each shows only its own"
            )
            causes.append("rules in iptables-legacy and in iptables-nft")
    late = [each for each in boots if each.manager not in {ruler.manager for ruler in rulers}]
    if late:
        problems += [f"{each.manager} does not rule now, and will after a reboot: {each.boots}" for each in late]
        causes.append("another manager is loaded at boot")
    if wanted != ANY_ONE and [each.manager.value for each in rulers] != [wanted] and rulers:
        problems.append(f"{wanted} is meant to manage the host, and {' and '.join(e.manager for e in rulers)} does")
        causes.append("another manager than the policy names")
    return problems, "; ".join(causes[:1])


def _fix(rulers: list[Presence], boots: list[Presence], wanted: str) -> str:
    found = list(dict.fromkeys(each.manager.value for each in [*rulers, *boots]))
    if not found:
        return CHOOSE
    kept = wanted if wanted in found else found[0]
    others = [name for name in found if name != kept]
    if not others:
        return "Keep the rules in one of the two: `update-alternatives --config iptables`, then flush the other."
    stops = "; ".join(f"`{_STOPS[name]}`" for name in others)
    return (
        f"Keep one. To keep {kept}: {stops}; then flush what is left of the other's rules, and see that {kept} boots."
    )


def _few(places: tuple[str, ...], most: int = 4) -> str:
    more = f" and {len(places) - most} more" if len(places) > most else ""
    return ", ".join(places[:most]) + more
