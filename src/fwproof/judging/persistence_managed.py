"""Judging persistence where a front end keeps the rules: what it would load at boot against what runs."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.firewalld import Firewalld
from fwproof.frontends.firewalld_zones import Difference, differences
from fwproof.frontends.front_end import FrontEnd
from fwproof.frontends.recognise import Manager
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

_CAUSE = "what a front end keeps differs from what runs"


def judge_firewalld(check: Check, facts: Facts) -> Outcome | None:
    """Judge one family of a host that firewalld manages; None where it does not."""
    assert check.family is not None
    front = facts.front_ends.get(check.host)
    if front is None or front.firewalld is None or Manager.FIREWALLD not in {each.manager for each in front.rulers}:
        return None
    return _firewalld(front, front.firewalld, check.family)


def ufw_differences(front: FrontEnd, family: Family, snapshot: Snapshot) -> list[str]:
    """Return the rules of ufw that do not run and those that run beside them, by ufw's names; raises HostError."""
    ufw, v6 = front.ufw, family is Family.IPV6
    if ufw is None or (v6 and not ufw.ipv6):
        return []
    name = "user6.rules" if v6 else "user.rules"
    snapshot.text("ufw-rules6" if v6 else "ufw-rules")
    running = set(ufw.known.values())
    mine = [rule for rule in ufw.rules if rule.v6 is v6]
    found = [f"{rule} is in /etc/ufw/{name} and does not run" for rule in mine if rule not in running]
    return found + [
        f"{ref} runs and is not in /etc/ufw/{name}" for ref in ufw.strangers if ref.family == family.table_family
    ]


def _boots(front: FrontEnd, manager: Manager) -> str:
    return next((each.boots for each in front.managers if each.manager is manager), "")


def _outcome(manager: str, boots: str, problems: Sequence[str], fix: str, compared: str) -> Outcome:
    missing = [] if boots else [f"{manager} is not started at boot, so after a reboot the host has no rules at all"]
    found = [*missing, *problems]
    enable = f"`systemctl enable {manager}`" if missing else ""
    return Outcome(
        verdict=Verdict.FAIL if found else Verdict.PASS,
        cause=_CAUSE if problems else ("nothing survives a reboot" if missing else ""),
        reason="; ".join(found[:4]) + (f"; and {len(found) - 4} more" if len(found) > 4 else "")
        or f"{manager} loads at boot what runs now", rule=problems[0] if problems else "",
        fix=", ".join(part for part in (enable, fix if problems else "") if part),
        proved=compared, observed=f"{manager} is {'' if boots else 'not '}enabled at boot", attributed=boots,
        evidence=tuple(found),
    )  # fmt: skip


def _firewalld(front: FrontEnd, firewalld: Firewalld, family: Family) -> Outcome:
    found = [each for each in differences(firewalld.running, firewalld.permanent) if each.family in {"", family.value}]
    for running, one, other in (
        (True, firewalld.direct, firewalld.direct_permanent), (False, firewalld.direct_permanent, firewalld.direct),
    ):  # fmt: skip
        found += [Difference("", "direct rule", line, family.value, running)
                  for line in one if line not in other and line.startswith(f"{family.value} ")]  # fmt: skip
    unsaved, unloaded = any(each.running for each in found), any(not each.running for each in found)
    keep = "`firewall-cmd --runtime-to-permanent` keeps what runs" if unsaved else ""
    load = "`firewall-cmd --reload` loads what is permanent" + (" and drops the rest" if unsaved else "")
    fix = " ".join(part for part in (keep, "or" if keep else "", load) if part) if unsaved or unloaded else ""
    compared = f"{len(found)} differences between the running and the permanent zones and direct rules"
    boots = _boots(front, Manager.FIREWALLD)
    return _outcome("firewalld", boots, list(map(str, found)), fix, compared)
