"""Random scripts of iptables commands whose way depends on what these answer, and tables for them to begin with."""

from __future__ import annotations

import random

_CHAINS = ("INPUT", "OUTPUT", "FORWARD", "X", "Y", "ab", "X", "Y")
_RULES = (
    "-p tcp --dport 22 -j ACCEPT", "-p tcp -m tcp --dport ssh -j ACCEPT", "-p 6 --dport 22:22 -j ACCEPT",
    "-j ACCEPT -p tcp --dport 22", "-p tcp -m comment --comment a --dport 22 -j ACCEPT",
    "-p tcp --dport 22 -m comment --comment a -j ACCEPT", "-p tcp -m comment --comment a -m tcp --dport 22 -j ACCEPT",
    "-s 10.0.0.1 -j DROP", "-s 10.0.0.1/32 -j DROP", "-s 10.0.0.7/24 -j DROP",
    "--source 10.0.0.0/255.255.255.0 -j DROP",
    "! -s 10.0.0.1 -j DROP", "-s 0.0.0.0/0 -j DROP", "-j DROP", "", "-j X", "-j Y", "-g X", "-j ab", "-j INPUT",
    "-j ZZ",
    "-p icmp --icmp-type 8 -j ACCEPT", "-p icmp --icmp-type echo-request -j ACCEPT",
    "-p icmp --icmp-type 8/0 -j ACCEPT",
    "-p icmp -m icmp --icmp-type ping -j ACCEPT", "-p icmp --icmp-type any -j ACCEPT", "-p icmp -j ACCEPT",
    "-m state --state NEW,ESTABLISHED -j ACCEPT", "-m state --state ESTABLISHED,NEW -j ACCEPT",
    "-m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", "-m conntrack --ctstate ESTABLISHED,NEW -j ACCEPT",
    "-p tcp --syn -j DROP", "-p tcp --tcp-flags SYN,ACK,FIN,RST SYN -j DROP", "-p tcp -j DROP", "-p tcp -m tcp -j DROP",
    "-j REJECT", "-j REJECT --reject-with port-unreach", "-p tcp -j REJECT --reject-with tcp-reset",
    "-j LOG", "-j LOG --log-level warning", "-j LOG --log-prefix x", "-j LOG --log-level 4 --log-prefix x",
    "-m limit --limit 60/minute -j ACCEPT", "-m limit --limit 1/second -j ACCEPT",
    "-m limit --limit 1/s --limit-burst 5 -j ACCEPT",
    "-p udp -m multiport --dports 53,67:68 -j ACCEPT", "-p udp -m multiport --dports 67:68,53 -j ACCEPT",
    "-p udp --dport 53 -j ACCEPT", "-p udp -m multiport --dports 53 -j ACCEPT",
    "-p udp --sport 53 --dport :53 -j ACCEPT",
    "-p udp --dport 0:53 --sport 53 -j ACCEPT", "-m mark --mark 1 -j DROP", "-m mark --mark 0x1/0xffffffff -j DROP",
    "-s 10.0.0.1,10.0.0.2 -j DROP", "-d 10.0.0.2 -s 10.0.0.1 -j RETURN", "-s 10.0.0.1 -d 10.0.0.2/32 -j RETURN",
    "-m addrtype --dst-type LOCAL -j DROP", "-p tcp -m limit --limit 1/s --dport 22 -j ACCEPT",
    "-p tcp --dport 22 -m limit --limit 1/s -j ACCEPT", "-p tcp ! --dport 22 -j ACCEPT",
)  # fmt: skip

SPELT = (
    "-p tcp --dport 22: -j ACCEPT", "-p tcp --dport 22:65535 -j ACCEPT", "-p tcp --dport 0:65535 -j ACCEPT",
    "-m limit -j ACCEPT", "-m limit --limit 3/hour -j ACCEPT", "-m limit --limit 6/min -j ACCEPT",
    "-m limit --limit 10079/day -j ACCEPT", "-m limit --limit 7/min -j ACCEPT",
    "-m limit --limit 7/m --limit-burst 6 -j ACCEPT",
    "-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz12345", "-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz123",
    "-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz124",
    "-j LOG --log-level 7 --log-uid", "-j LOG --log-level debug --log-uid", "-j LOG --log-level debug",
    "-p tcp --tcp-flags ALL NONE -j DROP", "-p tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP",
    "-p tcp ! --syn -m state --state NEW -j DROP", "-m state --state NEW -p tcp ! --syn -j DROP",
    "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m state --state NEW -j DROP",
    "-m recent --update --name S --seconds 60 -j DROP", "-m recent --name S --seconds 60 --update -j DROP",
    "-m connlimit --connlimit-above 5 -j DROP", "-m connlimit --connlimit-above 5 --connlimit-mask 32 -j DROP",
    "-m pkttype --pkt-type multicast -j DROP", "-m addrtype --dst-type MULTICAST -j DROP", "-p all -j DROP",
    "-m iprange --src-range 10.0.0.1-10.0.0.5 -j DROP", "-m owner --uid-owner 0 -j DROP",
    "-p 17 --dport domain -j ACCEPT",
    "-m conntrack ! --ctstate NEW -j ACCEPT", "-m conntrack --ctstate NEW -j ACCEPT",
    "-p udp -m udp -m multiport --dports 53 -j ACCEPT",
    "-m comment --comment a -p tcp --dport 22 -j ACCEPT", "-m comment --comment b -p tcp --dport 22 -j ACCEPT",
    "-d 10.0.0.2/31 -j DROP", "-d 10.0.0.3/31 -j DROP", "! -d 10.0.0.2/31 -j DROP", "-o eth+ -j DROP",
    "-o eth0 -j DROP",
    "! -p tcp -j DROP", "-p icmp -m icmp --icmp-type 3/3 -j DROP", "-p icmp --icmp-type port-unreachable -j DROP",
    "-p icmp --icmp-type 3 -j DROP", "-p icmp --icmp-type 255 -j ACCEPT", "-m mark ! --mark 1 -j DROP",
    "-m mark --mark 1/1 -j DROP", "-m mark --mark 0x1/0x1 -j DROP", "-m physdev --physdev-in eth0 -j DROP",
    "-m length --length 5 -j DROP", "-m ttl --ttl-eq 5 -j DROP",
    "-m hashlimit --hashlimit 5/s --hashlimit-name q -j DROP",
    "-m set --match-set nothing src -j DROP", "-j NFLOG --nflog-group 3", "-j NFLOG",
)  # fmt: skip
"""Rules that are like others in all but a part, or like them altogether."""
RULES = (*_RULES, *SPELT)


class Writer:
    """Writes one script; every choice is the generator's."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.depth, self.few = chance, 0, tuple(chance.sample(_RULES, 9))

    def pick(self, some: tuple[str, ...]) -> str:
        return self.chance.choice(some)

    def command(self) -> str:
        chain, rule, at = self.pick(_CHAINS), self.pick(self.few), self.pick(("1", "2", "3"))
        own = self.pick((*_CHAINS[3:], *_CHAINS[3:], chain))
        return "iptables " + self.pick((
            f"-A {chain} {rule}", f"-A {chain} {rule}", f"-A {chain} {rule}", f"-C {chain} {rule}",
            f"-C {chain} {rule}", f"-D {chain} {rule}", f"-D {chain} {rule}", f"-I {chain} {rule}",
            f"-I {chain} {at} {rule}",
            f"-D {chain} {at}", f"-R {chain} {at} {rule}" if "," not in rule.split(" -j")[0] else "-S", f"-N {chain}",
            f"-N {chain}", f"-F {chain}", f"-X {own}", "-F", "-X", f"-E {own} {self.pick(_CHAINS)}",
            f"-P {chain} {self.pick(('ACCEPT', 'DROP'))}", f"-nL {chain}", f"-S {chain}", f"-L {chain} -n -v", "-L -n",
            f"-Z {own}", "-F; iptables -X",
        ))  # fmt: skip

    def quiet(self) -> str:
        return f"{self.command()} {self.pick(('2>/dev/null', '>/dev/null 2>&1'))}"

    def statement(self) -> str:
        one = self.quiet().replace("; ", " 2>/dev/null; ")
        self.depth += 1
        kinds = [
            lambda: one, lambda: one, lambda: f"{one} || {self.inner()}", lambda: f"{one} && {self.inner()}",
            lambda: f"{one} || true", lambda: f"{one}\nsaid=$?\niptables -I OUTPUT -m comment --comment s$said",
        ]  # fmt: skip
        if self.depth < 3:
            chain = self.pick(_CHAINS)
            kinds += [
                lambda: f"if {one}; then\n{self.inner()}\nelse\n{self.inner()}\nfi",
                lambda: f"if ! {one}; then\n{self.inner()}\nfi",
                lambda: f"while iptables -D {chain} {self.pick(self.few)} 2>/dev/null; do\n:\ndone",
                lambda: f"{{ {one}; {self.inner()}; }} || {self.inner()}",
            ]  # fmt: skip
        made = self.chance.choice(kinds)()
        self.depth -= 1
        return made

    def inner(self) -> str:
        return self.statement() if self.depth < 2 and self.chance.random() < 0.3 else self.quiet()


def script(seed: int) -> str:
    """Return a script."""
    writer = Writer(random.Random(seed))
    head = writer.pick(("", "", "iptables -F\niptables -X", "set -e"))
    return "\n".join([head, *(writer.statement() for _ in range(writer.chance.randrange(4, 11))), ""])


def start(seed: int) -> str:
    """Return commands that make the tables which a script begins with; some of them fail."""
    writer = Writer(random.Random(seed))
    made = ["iptables -N X", "iptables -N Y"][: writer.chance.randrange(3)]
    return "\n".join([*made, *(f"iptables -A {writer.pick(_CHAINS)} {writer.pick(writer.few)}" for _ in range(4)), ""])
