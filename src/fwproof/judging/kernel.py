"""Judging the kernel's settings beside the rules: what counts on each interface now, and what a reboot makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fwproof.errors import HostError, InputError
from fwproof.evidence.boot import enabled_loaders
from fwproof.evidence.sysctl_boot import booted
from fwproof.evidence.sysctl_files import Loader, Saved, Write, expanded, read_saved
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.judging.kernel_settings import DEFAULT, SETTINGS, Join, Setting, Values, fits, lines
from fwproof.plan import Check
from fwproof.policy.table_model import Kernel
from fwproof.results import Outcome, Verdict
from fwproof.semantics.routing import parse_sysctls
from fwproof.snapshot import Snapshot

_SHOWN = 6
_FULL, _LONG = 0.8, 8
"""The share of conntrack's table in use, and connections for each of its buckets, from which on it is told."""
_FILE = "/etc/sysctl.d/99-zz-firewall.conf"
_CAUSES = {"now": "the kernel's settings are not hardened", "boot": "the kernel's settings do not survive a reboot"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """A setting that is not as expected on an interface (``default`` for those to come, empty for settings without).

    ``when`` is ``now`` or ``boot``; ``text`` is what is wrong, in words that equal interfaces share.
    """

    setting: Setting
    interface: str
    when: str
    text: str


def judge_kernel(check: Check, facts: Facts) -> Outcome:
    """Judge the settings of one family; those of both belong to the first family that the host has."""
    assert isinstance(check.expectation, Kernel)
    assert check.family is not None
    looking = _Looking(check, facts)
    if check.family is Family.IPV6 and not looking.interfaces:
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason="the kernel has no IPv6 on any interface")
    return looking.outcome()


class _Looking:
    """One look at the settings of a host, in one family."""

    def __init__(self, check: Check, facts: Facts) -> None:
        assert isinstance(check.expectation, Kernel)
        assert check.family is not None
        self.family, self.asked = check.family, check.expectation
        self.snapshot = facts.snapshot(check.host)
        try:
            self.now = parse_sysctls(self.snapshot.text("sysctl"), "sysctl")
        except InputError as error:
            raise HostError(check.host, f"its sysctls cannot be read: {error}") from error
        self.argv = " ".join(self.snapshot.captures["sysctl"].argv)
        self.interfaces = self._interfaces()
        first = Family.IPV4 if facts.inventory.hosts[check.host].address(Family.IPV4) else Family.IPV6
        families = (self.family, None) if self.family is first else (self.family,)
        wanted = self.asked.wanted
        self.settings = [each for each in SETTINGS if each.family in families and each.name in wanted]
        self.shared = None in families
        self.gaps: list[str] = []
        self.notes: list[str] = []
        self.saved = self._saved() if self.asked.boot else None
        self.boots = self._boots()

    def _interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that have the family, and ``default`` for those to come; without loopback."""
        head = f"{self.family.value}/conf/"
        names = dict.fromkeys(path.removeprefix(head).rpartition("/")[0] for path in self.now if path.startswith(head))
        kept = [name for name in names if name not in {"all", DEFAULT, "lo", ""}]
        kept = [name for name in (*kept, DEFAULT) if name in names]
        if self.family is Family.IPV6:
            kept = [name for name in kept if self.now.get(f"{head}{name}/disable_ipv6") != "1"]
        return tuple(kept)

    # ---- what boots

    def _saved(self) -> Saved | None:
        try:
            saved = read_saved(self.snapshot.text("sysctl-files"))
        except (HostError, ValueError) as error:
            self.gaps.append(f"what is written at boot was not read: {error}")
            return None
        self.gaps += [f"{name} is read at boot, and cannot be read here" for name in saved.unreadable]
        hidden = saved.hidden(ufw=self._ufw())
        self.notes += [f"{name} holds settings, and nothing loads it" for name in hidden]
        if saved.loader is Loader.NOBODY:
            self.notes.append("nothing loads settings at boot")
        return saved

    def _ufw(self) -> bool:
        """Whether ufw starts at boot and writes its own settings then."""
        captures = self.snapshot.captures
        enabled = "ufw.conf" in captures and "ENABLED=yes" in captures["ufw.conf"].stdout.split()
        links = captures["boot-links"].stdout.splitlines() if "boot-links" in captures else []
        return enabled and any(loader.name == "ufw" for loader in enabled_loaders(links))

    def _boots(self) -> list[Mapping[str, str]]:
        if self.saved is None:
            return []
        names = [name for name in self.interfaces if name != DEFAULT]
        afterwards = self.saved.of_ufw() if self._ufw() else ()
        late = self.saved.loader is Loader.SYSTEMD
        return booted(self.saved.writes(), names, late=late, afterwards=afterwards)

    def _writer(self, setting: Setting, interface: str) -> str:
        """Return who writes the last value of a setting, in words."""
        assert self.saved is not None
        paths = [f"net/{setting.path.format(place)}" for place in dict.fromkeys(("all", interface, DEFAULT))]
        paths += ["net/ipv4/ip_forward"] if setting.name == "forwarding" and setting.family is Family.IPV4 else []
        writes: list[Write] = [*expanded(self.saved.writes(), paths)]
        if self._ufw():
            writes += expanded(self.saved.of_ufw(), paths)
        said = [f"{write.path.replace('/', '.')} = {write.value} in {write}" for write in writes if write.path in paths]
        return (
            f"written: {', '.join(said[-2:])}" if said else "nothing writes it at boot, so the kernel's default counts"
        )

    # ---- findings

    def findings(self) -> Iterator[_Finding]:
        for setting in self.settings:
            for interface in self.interfaces if setting.each else ("",):
                yield from self._finding(setting, interface)

    def _finding(self, setting: Setting, interface: str) -> Iterator[_Finding]:
        word = self.asked.wanted[setting.name]
        if setting.key.startswith("nf_conntrack") and "netfilter/nf_conntrack_max" not in self.now:
            return  # conntrack is not loaded; _conntrack() says so
        now = self._known(setting, interface, self.now)
        if now is None:
            return
        after = [number for values in self.boots if (number := setting.effective(values, interface)) is not None]
        kept = all(fits(word, number) for number in after)
        if not fits(word, now):
            applied = "; the files say otherwise, and were not loaded since" if after and kept else ""
            yield _Finding(
                setting, interface, "now", f"{self._told(setting, interface, now)}, expected {word}{applied}"
            )
        elif not kept:
            bad = next(number for number in after if not fits(word, number))
            maybe = "may be" if any(fits(word, number) for number in after) else "is"
            text = f"is as expected now ({now}), and {maybe} {bad} after a reboot: {self._writer(setting, interface)}"
            yield _Finding(setting, interface, "boot", text)

    def _known(self, setting: Setting, interface: str, values: Values) -> int | None:
        """Return what counts, None where it was not read, which is noted."""
        for key in (setting.key, *(("force_forwarding",) if setting.join is Join.FORWARD6 else ())):
            path = setting.path.format(interface).rpartition("/")[0]
            if f"--include={key}" not in self.argv and f"{path}/{key}" not in values:
                self._gap(f"{key} was not read")
                return None
        found = setting.effective(values, interface)
        if found is None:
            self._gap(f"{setting.key}{f' of {interface}' if interface else ''} was not read as a number")
        return found

    def _gap(self, text: str) -> None:
        if text not in self.gaps:
            self.gaps.append(text)

    def _told(self, setting: Setting, interface: str, now: int) -> str:
        if not setting.each:
            return f"is {now}"
        every, own = setting.number(self.now, "all"), setting.number(self.now, interface)
        how = f"{now}: " if setting.join in {Join.LARGER, Join.SMALLER} else f"{'on' if now else 'off'}: "
        return f"is {how}all {every}, its own {own}, and {setting.join.value}"

    def _conntrack(self) -> str:
        """Return what is wrong with conntrack's table, empty where nothing is."""
        if not self.shared or "conntrack_table" not in self.asked.wanted:
            return ""
        named = ("nf_conntrack_count", "nf_conntrack_max", "nf_conntrack_buckets")
        numbers = [int(text) if (text := self.now.get(f"netfilter/{name}", "")).isdecimal() else None for name in named]
        used, most, buckets = numbers
        if most is None and "--include=nf_conntrack_max" in self.argv:
            self.notes.append("conntrack is not loaded, so it has no table")
            return ""
        if used is None or most is None:
            self._gap("the use of conntrack's table was not read")
            return ""
        if most and used >= most * _FULL:
            return f"conntrack_table: {used:,} of {most:,} entries are in use; what comes when it is full is dropped"
        if buckets and most > buckets * _LONG:
            return f"conntrack_table: {most:,} entries in {buckets:,} buckets: each look-up goes through long chains"
        self.notes.append(f"conntrack's table: {used:,} of {most:,} entries in use, {buckets or '?'} buckets")
        return ""

    def _bridges(self) -> Iterator[str]:
        """Yield which interfaces are ports of a bridge or another device whose rules may not see them."""
        path = "bridge/bridge-nf-call-iptables" if self.family is Family.IPV4 else "bridge/bridge-nf-call-ip6tables"
        ports = _ports(self.snapshot)
        if ports and "bridged" not in self.asked.wanted and self.now.get(path, "0") == "0":
            yield f"{', '.join(ports[:_SHOWN])}: if that is a bridge, the rules do not see what it carries"

    # ---- the outcome

    def outcome(self) -> Outcome:
        found = list(self.findings())
        stay = {id(each): why for each in found if (why := self._accepted(each))}
        bad = [each for each in found if id(each) not in stay]
        texts = _grouped(bad)
        table = self._conntrack()
        told = [f"accepted ({stay[id(each)]}): {_name(each)} {each.text}" for each in found if id(each) in stay]
        told += [*self._bridges(), *self.notes]
        if table and (why := self._reason("conntrack_table", "")):
            told.append(f"accepted ({why}): {table}")
        elif table:
            texts.append(table)
        if texts:
            return self._failed(bad, texts, told)
        proved = self._proved()
        if self.gaps:
            return Outcome(
                verdict=Verdict.INCONCLUSIVE, proved=proved, reason=f"not all is known: {'; '.join(self.gaps[:4])}",
                cause="the kernel's settings were not all read", evidence=(*self.gaps, *told),
            )  # fmt: skip
        if not self.settings:
            return Outcome(verdict=Verdict.NOT_APPLICABLE, reason="the policy checks no setting of this family")
        good = "every setting counts as expected on every interface" + (", also after a reboot" if self.boots else "")
        return Outcome(
            verdict=Verdict.PASS, reason="; ".join([good, *told]), proved=proved, observed=self._files(),
            evidence=tuple(told),
        )  # fmt: skip

    def _failed(self, bad: Sequence[_Finding], texts: Sequence[str], told: Sequence[str]) -> Outcome:
        more = [f"and {len(texts) - _SHOWN} more, which the evidence lists"] if len(texts) > _SHOWN else []
        now = not bad or any(each.when == "now" for each in bad)
        return Outcome(
            verdict=Verdict.FAIL, reason="; ".join([*texts[:_SHOWN], *more]), proved=self._proved(),
            observed=self._files(), cause=_CAUSES["now" if now else "boot"], fix=self._fix(bad),
            evidence=(*texts, *told, *self.gaps),
        )  # fmt: skip

    def _fix(self, bad: Sequence[_Finding]) -> str:
        wanted = dict.fromkeys(
            line for each in bad for line in lines(each.setting, self.asked.wanted[each.setting.name])
        )
        if not wanted:
            return "Raise net.netfilter.nf_conntrack_max and nf_conntrack_buckets together, or find out who fills it."
        return f"Write into {_FILE}: {'; '.join(wanted)}. Then: sysctl --system"

    def _proved(self) -> str:
        names = dict.fromkeys(each.name for each in self.settings)
        places = [name for name in self.interfaces if name != DEFAULT]
        return (
            f"{len(names)} settings, each as the kernel joins it, on {', '.join(places[:_SHOWN]) or 'no interface'}"
            + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
        )

    def _files(self) -> str:
        if self.saved is None:
            return ""
        order = [*self.saved.order(), *(("ufw's own",) if self._ufw() else ())]
        return f"loaded at boot by {self.saved.loader.value}, in this order: {', '.join(order) or 'no file'}"

    def _accepted(self, found: _Finding) -> str:
        return self._reason(found.setting.name, found.interface)

    def _reason(self, name: str, interface: str) -> str:
        """Return why a setting stays as it is, empty where nobody says so."""
        return next((
            one.reason for one in self.asked.accepted
            if one.setting == name and (not one.interface or fnmatchcase(interface, one.interface))
        ), "")  # fmt: skip


def _name(found: _Finding) -> str:
    key = found.setting.key if found.setting.key != "forwarding" else f"{found.setting.family} forwarding"
    if not found.setting.each:
        return key
    return f"{key} of {'interfaces to come' if found.interface == DEFAULT else found.interface}"


def _grouped(bad: Sequence[_Finding]) -> list[str]:
    """Return findings in words, those that differ in the interface alone as one."""
    groups: dict[tuple[str, str], list[_Finding]] = {}
    for each in bad:
        groups.setdefault((each.setting.path, each.text), []).append(each)
    found = []
    for (_, text), those in groups.items():
        others = [_place(each.interface) for each in those[1:]]
        shown = ", ".join(others[:_SHOWN]) + (f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else "")
        found.append(f"{_name(those[0])}{f', {shown}' if shown else ''} {text} (with it, {those[0].setting.does})")
    return found


def _place(interface: str) -> str:
    return "interfaces to come" if interface == DEFAULT else interface


def _ports(snapshot: Snapshot) -> list[str]:
    """Return the interfaces that belong to another one, with its name."""
    try:
        listed = json.loads(snapshot.text("ip-addr"))
    except (HostError, ValueError):
        return []
    return [
        f"{each['ifname']} belongs to {each['master']}" for each in listed
        if isinstance(each, dict) and isinstance(each.get("ifname"), str) and isinstance(each.get("master"), str)
    ]  # fmt: skip
