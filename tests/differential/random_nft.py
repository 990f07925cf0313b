"""Random native nft rulesets, as text that ``nft -f`` reads, biased to what random_tables' packets meet."""

import re
from ipaddress import ip_address, ip_network

from .random_tables import BEYOND, MACS, OWN, PORTS

ADDRESSES = {
    4: ["10.0.0.1", "10.0.0.100", "10.0.5.7", "192.0.2.9", "203.0.113.4"],
    6: ["fd00:0:0:1::1", "fd00:0:0:1::100", "fd00:0:0:5::7", "2001:db8::9", "2001:db8:1::4"],
}
NETS = {
    4: ["10.0.0.0/16", "10.0.0.1", "10.0.0.0-10.0.0.150", "192.0.2.0/24", "0.0.0.0/1", "203.0.113.4"],
    6: ["fd00::/48", "fd00:0:0:1::1", "fd00::-fd00:0:0:3::", "2001:db8::/32", "2001:db8::9"],
}
SPANS = ["22", "53", "80", "8080", "11434", "50-100", "1-1023", "8000-9000"]
HOOKS = {False: ["prerouting", "input", "forward"], True: ["output"]}
REJECTS = {
    4: ["", "with icmp type host-prohibited", "with icmp type admin-prohibited", "with icmpx type no-route"],
    6: ["", "with icmpv6 type admin-prohibited", "with icmpx type host-unreachable"],
}
RELATION = re.compile(r"[<>]")
PLACES = [-350, -310, -150, -100, -10, 0, 10, 60]


class Ruleset:
    """One random ruleset: ``text`` for nft, ``tables`` to delete again, ``finals`` for the comparison.

    ``finals`` holds for each rule by (family, table, chain, number) how the action begins that stands behind its
    counter, None where that cannot be told from the outside.
    """

    def __init__(self, rng, version, serial, *, outward, priorities=None, nat=False):
        self.rng, self.version, self.outward, self.serial = rng, version, outward, serial
        self.finals, self.tables, self.meters, self.lists = {}, [], 0, 0
        self.places = list(priorities or rng.sample(PLACES, len(PLACES)))
        self.nat = nat
        self.text = "".join(self._table(f"t{at}") for at in range(rng.choice([1, 1, 2])))

    def without(self, lines):
        """Replace the rules on some lines (from 1), which nft refuses, by plain ones."""
        text = self.text.split("\n")
        for line in lines:
            place = self._rule_on(text, line)
            assert place in self.finals, text[line - 1]
            text[line - 1], self.finals[place] = "    counter accept", "accept"
        self.text = "\n".join(text)

    @staticmethod
    def _rule_on(text, line):
        table = chain = None
        for number, each in enumerate(text[:line], 1):
            words = each.split()
            if words[:1] == ["table"]:
                table = words[1], words[2]
            elif words[:1] == ["chain"]:
                chain, start = words[1], number + 1  # the line after it is the head
        return (*table, chain, line - start)

    def _table(self, name):
        rng = self.rng
        self.family = rng.choice(["inet", "inet", "ip" if self.version == 4 else "ip6"])
        self.tables.append(f"{self.family} {name}")
        self.mixed = self.family == "inet"
        self.users = [f"u{at}" for at in range(rng.choice([1, 2, 3]))]
        self.name, self.timed = name, []
        chains = [self._chain(user, self.users[at + 1 :], "") for at, user in enumerate(self.users)][::-1]
        for at in range(rng.choice([1, 2, 3])):
            hook = rng.choice(HOOKS[self.outward])
            place = self.places.pop()
            kind = "route" if hook == "output" and self.family != "inet" and rng.random() < 0.2 else "filter"
            default = rng.choice(["accept", "accept", "drop"])
            head = f"type {kind} hook {hook} priority {place}; policy {default};"
            chains.append(self._chain(f"base{at}", self.users, head, hook, place))
        return f"table {self.family} {name} {{\n{self._sets()}{''.join(chains)}}}\n"

    def _sets(self):
        rng, kind = self.rng, "ipv4_addr" if self.version == 4 else "ipv6_addr"
        addresses = ", ".join(self._disjoint(NETS[self.version], 3))
        pairs = ", ".join(f"{a} . {s}" for a, s in zip(rng.sample(ADDRESSES[self.version], 3), rng.sample(SPANS, 3),
                                                       strict=True))  # fmt: skip
        singles = rng.sample(PORTS, 3)
        rest = f", * : {self._verdict()}" if rng.random() < 0.3 else ""
        verdicts = ", ".join(f"{p} : {self._verdict()}" for p in singles) + rest
        joined = ", ".join(f"{a} . {p} : {self._verdict()}" for a, p in
                           zip(rng.sample(ADDRESSES[self.version], 2), rng.sample(PORTS, 2), strict=True))  # fmt: skip
        marks = ", ".join(f"{p} : {rng.choice([1, 2, 5])}" for p in singles)
        return f"""
  set addresses {{ type {kind}; flags interval; elements = {{ {addresses} }}; }}
  set nobody {{ type {kind}; }}
  set pairs {{ type {kind} . inet_service; flags interval; elements = {{ {pairs} }}; }}
  set ports {{ type inet_service; flags interval; elements = {{ {", ".join(self._disjoint(SPANS, 3))} }}; }}
  set names {{ type ifname; flags interval; elements = {{ "lo", "et*" }}; }}
  set states {{ type ct_state; elements = {{ new, invalid }}; }}
  set seen {{ type {kind}; flags dynamic; size 999; }}
  set grown {{ type {kind}; flags dynamic; size 999; }}
  map verdicts {{ type inet_service : verdict; elements = {{ {verdicts} }}; }}
  map joined {{ type {kind} . inet_service : verdict; elements = {{ {joined} }}; }}
  map marks {{ type inet_service : mark; elements = {{ {marks} }}; }}
"""

    def _disjoint(self, choices, count):
        """Choose entries that do not overlap, because nft refuses sets with overlapping intervals."""
        found = []
        for each in self.rng.sample(choices, len(choices)):
            if len(found) < count and not any(_overlap(each, other) for other in found):
                found.append(each)
        return found

    def _verdict(self, users=None):
        rng = self.rng
        users = self.users if users is None else users
        choices = ["accept", "drop", "return", "continue", "accept"]
        choices += [f"{rng.choice(['jump', 'goto'])} {rng.choice(users)}"] * 3 if users and self.serial >= 0 else []
        return rng.choice(choices)

    def _chain(self, name, users, head, hook="", place=0):
        rng, lines = self.rng, []
        for number in range(1, rng.choice([3, 4, 6, 8]) + 1):
            text, final = self._rule(users, hook, place)
            self.finals[self.family, self.name, name, number] = final
            lines.append(f"    {text}\n")
        return f"  chain {name} {{\n    {head}\n{''.join(lines)}  }}\n"

    def _rule(self, users, hook, place):
        """Return a rule and how the action behind its counter begins."""
        rng = self.rng
        matches = self._matches(hook, rng.choice([0, 1, 1, 2, 3]))
        kind = rng.random()
        if kind < 0.16:
            return f"{matches} {self._vmap(users)}", None
        effect = self._effect(hook, place) if rng.random() < 0.35 else ""
        after = self._match(hook) if effect and rng.random() < 0.4 else ""
        after = "" if RELATION.search(matches) and RELATION.search(after) else after
        verdict = self._last(users, hook)
        final = verdict.split(" with ")[0] if verdict else ("continue" if after or not effect else effect)
        if not verdict and effect.startswith(("update", "add", "limit", "ct count")):
            final = "continue"
        return f"{matches} {effect} {after} counter {verdict}".strip(), final

    def _matches(self, hook, count):
        """Return matches of which one at most compares: nft 1.0.6 lists two of those as one range."""
        while True:
            found = " ".join(self._match(hook) for _ in range(count))
            if len(RELATION.findall(found)) < 2:
                return found

    def _last(self, users, hook):
        rng = self.rng
        if rng.random() < 0.2:
            return ""
        if hook in {"input", "forward"} and rng.random() < 0.12:
            return f"reject {rng.choice(REJECTS[self.version])}".strip()
        choices = ["accept", "drop", "return", "accept", "drop"]
        choices += [f"{rng.choice(['jump', 'goto'])} {rng.choice(users)}"] * 4 if users else []
        return rng.choice(choices)

    def _vmap(self, users):
        rng, six = self.rng, self.version == 6
        source = "ip6 saddr" if six else "ip saddr"
        picked = [self._verdict(users) for _ in range(4)]
        ports = rng.sample(PORTS, 3)
        choices = [
            f"ct state vmap {{ new : {picked[0]}, invalid : {picked[1]}, established : {picked[2]} }}",
            f"tcp dport vmap {{ {ports[0]} : {picked[0]}, {ports[1]} : {picked[1]}, 1-21 : {picked[2]} }}",
            f"meta mark vmap {{ 0 : {picked[0]}, 1 : {picked[1]}, 5 : {picked[2]} }}",
            f"meta l4proto vmap {{ tcp : {picked[0]}, udp : {picked[1]}, 1 : {picked[2]}, 58 : {picked[3]} }}",
            f"{source} vmap {{ {NETS[self.version][0]} : {picked[0]}, {NETS[self.version][3]} : {picked[1]} }}",
            (
                f"{source} . tcp dport vmap {{ {ADDRESSES[self.version][0]} . {ports[0]} : {picked[0]}, "
                f"{ADDRESSES[self.version][2]} . {ports[1]} : {picked[1]} }}"
            ),
        ]
        if users == self.users:  # a user chain must not lead back to itself
            choices += ["tcp dport vmap @verdicts", f"{source} . tcp dport vmap @joined"]
        if rng.random() < 0.3:
            return f"tcp dport vmap {{ {ports[0]} : {picked[0]}, {ports[1]} : {picked[1]}, * : {picked[2]} }}"
        return rng.choice(choices)

    def _effect(self, hook, place):
        rng, source = self.rng, "ip6 saddr" if self.version == 6 else "ip saddr"
        self.lists += 1
        choices = [
            f"meta mark set {rng.choice([1, 2, 5, 6])}",
            f"meta mark set meta mark {rng.choice(['& 0x2', '| 0x4', '^ 0x5', '& 0xfffffffe | 0x2'])}",
            "meta mark set ct mark", "ct mark set meta mark", f"ct mark set {rng.choice([0, 1, 3])}",
            "ct mark set ct mark | 0x2", "meta mark set tcp dport map @marks",
            f'log prefix "x{self.lists}" group 7', f"limit rate 1/hour burst {rng.choice([1, 2, 4])} packets",
            f"limit rate over 1/hour burst {rng.choice([1, 2, 4])} packets",
            f"update @grown {{ {source} limit rate 1/hour burst {rng.choice([1, 3])} packets }}",
            f"add @seen {{ {source} }}",
        ]  # fmt: skip
        choices += self._rewriting(place) * 3
        if place < -200 and hook in {"prerouting", "output"}:
            choices += ["notrack"] * 3 + ["ct zone set 5"]
        return rng.choice(choices)

    def _rewriting(self, place):
        """Return statements that write into headers; flags only where conntrack has seen them."""
        rng, six = self.rng, self.version == 6
        net, hop = ("ip6", "hoplimit") if six else ("ip", "ttl")
        found = [f"{net} dscp set {rng.choice(['ef', 'cs1', '4'])}", f"{net} {hop} set {rng.choice([1, 64, 65])}",
                 f"{net} ecn set {rng.choice(['ce', 'not-ect'])}"]  # fmt: skip
        return found + (["tcp flags set syn", "tcp flags set fin|ack"] if place > -200 else [])

    def _match(self, hook):
        rng, six = self.rng, self.version == 6
        no = rng.choice(["", "", "", "!= "])
        net = "ip6" if six else "ip"
        hop = "hoplimit" if six else "ttl"
        proto = ("icmpv6", "nd-neighbor-solicit", "ipv6-icmp") if six else ("icmp", "timestamp-request", "icmp")
        addresses = ", ".join(rng.sample(ADDRESSES[self.version], 2))
        pair = f"{rng.choice(ADDRESSES[self.version])} . {rng.choice(PORTS)}"
        ports = ", ".join(map(str, rng.sample(PORTS, 2)))
        choices = [
            f"{net} saddr {no}{rng.choice(NETS[self.version])}", f"{net} saddr {no}{{ {addresses} }}",
            f"{net} daddr {no}{rng.choice([OWN, BEYOND])[self.version]}", f"{net} saddr {no}@addresses",
            f"{net} saddr . tcp dport {no}@pairs", f"{net} saddr . tcp dport {no}{{ {pair}, {pair[::1]} }}",
            f"{net} saddr @nobody", f"tcp dport {no}@ports", f"tcp dport {no}{rng.choice(PORTS)}",
            f"tcp dport {no}{rng.choice(['1-79', '80-9000', '8080-11434'])}", f"tcp dport {no}{{ {ports}, 1-21 }}",
            f"tcp dport {rng.choice(['<', '>', '<=', '>='])} {rng.choice(PORTS)}", f"udp dport {no}{rng.choice(PORTS)}",
            f"udp sport {rng.choice(['<', '>'])} 20000",
            f"meta l4proto {{ tcp, udp }} th dport {no}{rng.choice(PORTS)}",
            f"meta l4proto {no}{{ tcp, udp, {proto[2]} }}", f"meta l4proto {no}{rng.choice(['tcp', 'udp', proto[2]])}",
            f"{'ip6 nexthdr' if six else 'ip protocol'} {no}{rng.choice(['tcp', 'udp'])}",
            f"{proto[0]} type {no}{{ echo-request, {proto[1]} }}", f"{proto[0]} type echo-request",
            f"{proto[0]} code {rng.choice(['0', '!= 0'])}",
            "tcp flags syn", "tcp flags ! syn", "tcp flags == syn", "tcp flags != syn", "tcp flags syn,rst",
            "tcp flags & (fin|syn|rst|ack) == syn", "tcp flags & (syn|ack) != syn", "tcp flags & (fin|ack) == fin|ack",
            f"tcp flags {no}{{ syn, rst, fin|ack }}",
            f"ct state {no}{rng.choice(['new', 'invalid', 'established', 'untracked'])}", "ct state new,untracked",
            "ct state established,related", f"ct state {no}{{ new, invalid }}", "ct state ! new,invalid",
            "ct state @states",
            f"ct direction {no}{rng.choice(['original', 'reply'])}", f"ct mark {no}{rng.choice([0, 1, 3])}",
            f"meta mark {no}{rng.choice([0, 1, 2, 5])}", "meta mark & 0x3 == 0x1", f"meta mark {no}{{ 1-4, 6 }}",
            "meta mark < 2", "ct mark & 0x2 == 0x2", f"{net} {hop} {no}{rng.choice([63, 64, 65])}",
            f"{net} {hop} {rng.choice(['<', '>'])} 64", f"{net} {hop} {no}{rng.choice([63, 64, 65])}",
            f"{net} dscp {no}{rng.choice(['ef', '4', 'cs1'])}",
            f"meta length {rng.choice(['<', '>'])} {rng.choice([40, 50, 60])}",
            f"meta length {no}28-48",
            f"{net} dscp {no}{rng.choice(['cs0', '4', 'cs2'])}", f"{net} dscp {no}{{ cs0, 4 }}",
            f"meta pkttype {no}{rng.choice(['host', 'multicast'])}", f"fib daddr type {no}local",
            f"fib saddr type {no}{{ unicast }}" if not six else "fib daddr type { local, multicast }",
            f"iifname {no}{rng.choice(['eth0', 'eth*', 'lo'])}", f"iifname {no}{{ eth0, lo }}", f"iifname {no}@names",
            f"iif {no}{rng.choice(['eth0', 'lo'])}",
        ]  # fmt: skip
        choices += [
            f"esp spi {no}{rng.choice(['256', '100-300', '0'])}", "esp spi { 0, 256-299 }", f"sctp dport {no}80",
            f"ah spi {no}{rng.choice(['256', '100-300'])}", f"dccp sport {no}1024-30000", f"{net} ecn {no}ce",
            f"meta ipsec {rng.choice(['missing', 'missing', 'exists'])}",
            f"meta l4proto {no}{{ esp, 33, sctp, 50-60 }}",
        ]  # fmt: skip
        if rng.random() < 0.3:  # an ICMP error leaves it open; nft 1.0.6 does not list ``ct protocol`` before th dport
            choices.append("ct status ! seen-reply")
        if six:
            choices += [f"exthdr {name} {rng.choice(['missing', 'exists'])}" for name in ("frag", "hbh", "rt")]
            choices += ["ip6 nexthdr { esp, sctp, 33 }", "frag more-fragments 0"]
        if hook == "prerouting":
            way = rng.choice(["saddr . iif oif", "saddr oif", "saddr . mark . iif oif", "saddr . iif oifname"])
            choices += [f"fib {way} {rng.choice(['missing', 'exists'])}"] * 4
        if hook in {"forward", "output"}:
            choices += [f"oifname {no}{rng.choice(['eth0', 'eth*', 'eth1'])}"] * 2
        if not self.outward and hook == "prerouting":
            choices += [f"ether saddr {no}{rng.choice(MACS)}"] * 2
        if not six:
            choices += ["ip saddr & 255.0.255.0 == 10.0.0.0", f"ip length {rng.choice(['<', '>'])} 40", "ip version 4"]
        if six:
            choices += ["ip6 length < 20", "ip6 saddr & ffff::ffff == fd00::7"]
        if self.mixed:
            other = "ip6 saddr ::/0" if not six else "ip saddr 0.0.0.0/0"
            choices += [f"meta nfproto {no}ipv4", f"meta protocol {no}ip6", other, "icmp type echo-request"]
        return rng.choice(choices)


def _overlap(one, two):
    def ends(text):
        if "-" in text:
            low, high = text.split("-")
            return (int(low), int(high)) if low.isdigit() else (int(ip_address(low)), int(ip_address(high)))
        if text.isdigit():
            return int(text), int(text)
        network = ip_network(text)
        return int(network.network_address), int(network.broadcast_address)

    (a, b), (c, d) = ends(one), ends(two)
    return a <= d and c <= b
