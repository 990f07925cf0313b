"""Random rule tables, and packets that are likely to meet them."""

from dataclasses import replace
from ipaddress import ip_address

from fwproof.flow import CtState, Flow

SOURCES = {
    4: ["10.0.0.1", "10.0.0.100", "10.0.5.7", "192.0.2.9", "203.0.113.4"],
    6: ["fd00:0:0:1::1", "fd00:0:0:1::100", "fd00:0:0:5::7", "2001:db8::9", "2001:db8:1::4"],
}
OWN = {4: "10.0.0.10", 6: "fd00:0:0:1::10"}
BEYOND = {4: "10.9.0.7", 6: "fd00:9::7"}
ODD = {
    4: ["10.9.0.7", "10.9.0.7", "198.51.100.3", "10.0.0.10", "127.0.0.9"],
    6: ["fd00:9::7", "fd00:9::7", "2001:db8:bad::3", "2001:db8:bad:1::4"],
}
"""Sources whose way back does not lead through the interface that they come in by, or nowhere."""
ROOM = {4: ["10.0.0.0", "192.0.2.0", "10.8.0.0"], 6: ["fd00:0:0:5::", "2001:db8::", "fd00:8::"]}
"""Where peers of protocols without ports come from, each of them once: they are one connection by their addresses."""
PORTS = [22, 53, 80, 8080, 11434]
MACS = ["02:00:00:00:00:01", "02:00:00:00:00:77"]
NETS = {
    4: ["10.0.0.0/16", "10.0.0.1", "10.0.0.100/32", "192.0.2.0/24", "10.0.5.0/255.0.255.0"],
    6: ["fd00::/48", "fd00:0:0:1::1", "2001:db8::/32", "fd00::7/ffff::ffff", "fd00:0:0:5::/64"],
}
REJECTS = {
    4: ["icmp-port-unreachable", "icmp-admin-prohibited", "icmp-host-prohibited"],
    6: ["icmp6-port-unreachable", "icmp6-adm-prohibited"],
}


class Tables:
    """One random set of tables of one family; ``text`` is what iptables-restore reads."""

    def __init__(self, rng, version, serial, *, outward):
        self.rng, self.version, self.serial = rng, version, serial
        self.lists, self.outward = 0, outward
        self.text = self._tables()

    def _bang(self):
        return "! " if self.rng.random() < 0.25 else ""

    def _matches(self, chain, table):
        rng, parts = self.rng, []
        if rng.random() < 0.35:  # alone, so that what only a module decides is met by most packets
            return self._module(chain, table)
        if rng.random() < 0.2:
            return self._other_transport()
        inward = chain not in {"OUTPUT", "POSTROUTING"}
        if rng.random() < 0.4:
            parts.append(f"{self._bang()}-s {rng.choice(NETS[self.version])}")
        if rng.random() < 0.15:
            own = OWN[self.version] if rng.random() < 0.7 else BEYOND[self.version]
            parts.append(f"{self._bang()}-d {own}")
        if rng.random() < 0.15 and inward:
            parts.append(f"{self._bang()}-i {rng.choice(['eth0', 'eth+', 'lo', 'eth1'])}")
        if rng.random() < 0.15 and chain in {"OUTPUT", "FORWARD"}:
            parts.append(f"{self._bang()}-o {rng.choice(['eth0', 'eth+', 'lo', 'eth1'])}")
        parts += self._transport()
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            parts.append(self._module(chain, table))
        return " ".join(parts)

    def _transport(self):
        rng = self.rng
        kind = rng.random()
        if kind < 0.35:
            options = [
                "",
                "--dport {p}",
                "! --dport {p}",
                "--dport 50:9000",
                "--sport 1024:30000",
                "! --sport :40000",
                "--syn",
                "! --syn",
                "--tcp-flags SYN,ACK,FIN ACK",
                "--tcp-flags ALL NONE",
                "! --tcp-flags RST,ACK RST",
                "--dport {p} --tcp-flags FIN,SYN,RST,ACK SYN",
            ]
            many = [
                "-m multiport --dports {p},443,8000:8100",
                "-m multiport ! --dports {p},53",
                "-m multiport --ports {p},1024:2048",
                "-m multiport --sports 1024:20000,{p}",
            ]
            if rng.random() < 0.3:
                return ["-p tcp " + rng.choice(many).format(p=rng.choice(PORTS))]
            return ["-p tcp -m tcp " + rng.choice(options).format(p=rng.choice(PORTS))]
        if kind < 0.5:
            return ["-p udp -m udp " + rng.choice(["--dport 53", "! --dport 53", "--sport 1024:", "--dport 50:100"])]
        if kind < 0.6:
            types = ["8", "3/3", "13", "any", "0"] if self.version == 4 else ["128", "1/4", "135", "129", "1"]
            name = ("icmp", "--icmp-type") if self.version == 4 else ("icmp6", "--icmpv6-type")
            proto = "icmp" if self.version == 4 else "ipv6-icmp"
            return [f"-p {proto} -m {name[0]} {self._bang()}{name[1]} {rng.choice(types)}"]
        return [f"{self._bang()}-p {rng.choice(['tcp', 'udp', '47', '6'])}"] if kind < 0.75 else []

    def _other_transport(self):
        rng, six = self.rng, self.version == 6
        spi = rng.choice(["256", "100:300", "300:", ":255", "0"])
        choices = [
            f"-p esp -m esp {self._bang()}--espspi {spi}",
            f"-p esp -m esp {self._bang()}--espspi {spi}",
            "-p esp -m esp",
            f"-p ah -m ah {self._bang()}--ahspi {spi}" if not six else "-m ah",
            f"-p sctp -m sctp {self._bang()}--dport {rng.choice(['80', '50:9000'])}",
            f"-p dccp -m dccp {self._bang()}--{rng.choice('sd')}port {rng.choice(['80', '50:9000', '1024:'])}",
            f"-p tcp -m ecn {self._bang()}--ecn-tcp-{rng.choice(['cwr', 'ece'])}",
            f"-p tcp -m conntrack {self._bang()}--ctproto {rng.choice(['6', '17'])}",
            f"-p udp -m conntrack {self._bang()}--ctstatus {rng.choice(['SEEN_REPLY', 'NONE', 'EXPECTED,SEEN_REPLY'])}",
            f"-p udp -m conntrack --ctstate NEW,ESTABLISHED {self._bang()}--ctstatus SEEN_REPLY",
            f"{self._bang()}-p {rng.choice(['ah', 'esp', 'sctp', '33'])}",
        ]
        if six:
            soft = rng.choice(["", " --soft"])
            choices += [
                f"-m ipv6header {self._bang()}--header {rng.choice(['prot'] * 3 + ['none', 'esp', 'hop,prot', 'frag'])}"
                f"{soft}"
                for _ in range(8)
            ]
            choices += [f"-m {name}" for name in ("frag", "hbh", "dst", "rt")] + ["-p mh -m mh", "-p mh"]
            choices += ["-m frag --fragfirst", "-m rt ! --rt-type 5", "-m hbh ! --hbh-len 8", "-p 59"]
        return rng.choice(choices)

    def _module(self, chain, table):
        rng, hop = self.rng, ("ttl", "ttl") if self.version == 4 else ("hl", "hl")
        self.lists += 1
        states = ["NEW", "ESTABLISHED,RELATED", "INVALID", "NEW,INVALID", "UNTRACKED", "NEW,UNTRACKED", "RELATED"]
        first, last = {4: ("10.0.0.1", "10.0.0.100"), 6: ("fd00::", "fd00:0:0:1::1")}[self.version]
        choices = [
            f"-m conntrack {self._bang()}--ctstate {rng.choice(states)}",
            f"-m conntrack {self._bang()}--ctstate {rng.choice(states)} --ctdir {rng.choice(['ORIGINAL', 'REPLY'])}",
            f"-m state --state {rng.choice(states[:4])}",
            f"-m mark {self._bang()}--mark {rng.choice(['0x1', '0x2', '0x3', '0x6', '0x2/0x2'])}",
            f"-m mark {self._bang()}--mark {rng.choice(['0x1', '0x0/0x1', '0x2/0x2', '0x5'])}",
            f"-m connmark {self._bang()}--mark {rng.choice(['0x0', '0x1', '0x3/0x3'])}",
            f"-m iprange {self._bang()}--src-range {first}-{last}",
            f"-m {hop[0]} --{hop[1]}-{rng.choice(['eq', 'lt', 'gt'])} {rng.choice([63, 64, 65])}",
            f"-m length {self._bang()}--length {rng.choice(['40', '28:40', '60:', ':59', '20:64'])}",
            f'-m comment --comment "{rng.choice(["plain", "two words", "-j DROP", "a ! b"])}"',
            f"-m tos {self._bang()}--tos {rng.choice(['0x10/0x10', '0x00/0xff', '0x08/0xff'])}",
            f"-m dscp {self._bang()}--dscp {rng.choice(['0x00', '0x04', '0x2e'])}",
            f"-m ecn {self._bang()}--ecn-ip-ect {rng.choice('0013')}",
            f"-m pkttype {self._bang()}--pkt-type {rng.choice(['unicast', 'multicast'])}",
            f"-m addrtype {self._bang()}--dst-type {rng.choice(['LOCAL', 'UNICAST', 'MULTICAST', 'LOCAL,UNICAST'])}",
            f"-m recent --set --name r{self.serial}x{self.lists % 3}",
            f"-m recent --set --name r{self.serial}x{self.lists % 3}",
            (
                f"-m recent --{rng.choice(['rcheck', 'update'])} --seconds 600 --hitcount {rng.choice([1, 2, 3])} "
                f"--name r{self.serial}x{self.lists % 3}"
            ),
            f"-m recent {self._bang()}--{rng.choice(['rcheck', 'remove'])} --name r{self.serial}x{self.lists % 3}",
            f"-m limit --limit 1/hour --limit-burst {rng.choice([1, 3, 6])}",
            (
                f"-m hashlimit --hashlimit-{rng.choice(['upto', 'above'])} 1/hour "
                f"--hashlimit-burst {rng.choice([1, 3])} "
                f"--hashlimit-mode {rng.choice(['srcip', 'srcip,dstport'])} "
                f"--hashlimit-name h{self.serial}x{self.lists}"
            ),
        ]
        if chain in {"INPUT", "PREROUTING"}:
            choices.append(f"-m mac {self._bang()}--mac-source {rng.choice(MACS)}")
        way = "out" if chain in {"OUTPUT", "POSTROUTING"} else "in"
        choices.append(f"-m policy --dir {way} --pol {rng.choice(['none', 'none', 'ipsec'])}")
        if way == "in":
            choices.append(f"-m physdev {self._bang()}--physdev-{rng.choice(['in eth0', 'is-in', 'is-bridged'])}")
        else:
            choices.append(f"-m owner {self._bang()}--{rng.choice(['uid-owner 0', 'gid-owner 0', 'socket-exists'])}")
        if chain == "PREROUTING":
            flags = [flag for flag in ("--loose", "--accept-local", "--validmark", "--invert") if rng.random() < 0.4]
            choices += [" ".join(["-m rpfilter", *flags])] * 4
        return rng.choice(choices)

    def _target(self, table, chain, callable_chains):
        rng = self.rng
        marks = [
            "--set-xmark 0x1/0xffffffff",
            "--set-xmark 0x2/0x2",
            "--or-mark 0x4",
            "--and-mark 0xfffffffe",
            "--xor-mark 0x3",
        ]
        choices = [
            "",
            "-j ACCEPT",
            "-j ACCEPT",
            "-j DROP",
            "-j RETURN",
            '-j NFLOG --nflog-prefix "x y" --nflog-group 7',
        ]
        choices += [f"-j {name}" for name in callable_chains] * 2 + [f"-g {name}" for name in callable_chains]
        if table == "filter" and not self.outward:  # its answer would go through OUTPUT as well
            choices += [f"-j REJECT --reject-with {rng.choice(REJECTS[self.version])}"]
        if table == "mangle":
            choices += [f"-j MARK {rng.choice(marks)}"] * 3
            choices += self._rewriting()
            choices += ["-j CONNMARK --set-xmark 0x1/0x3", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark"]
        if table == "raw":
            choices += ["-j CT --notrack"] * 2 + ["-j CT --ctevents destroy"]
        return rng.choice(choices)

    def _rewriting(self):
        """Return targets that write header fields, biased to what the matches look for."""
        rng, four = self.rng, self.version == 4
        hops = ("TTL", "ttl") if four else ("HL", "hl")
        value = rng.choice(["0x10/0xff", "0x08/0x08", "0x00/0xfc", "0x01/0x00", "0x03/0x01"])
        found = [f"-j DSCP --set-dscp {rng.choice(['0x04', '0x2e', '0x00'])}", f"-j TOS --set-tos {value}"]
        found += [f"-j {hops[0]} --{hops[1]}-set {rng.choice([1, 63, 64, 65, 255])}"]
        return found + (["-p tcp -j ECN --ecn-tcp-remove"] if four else [])

    def _rules(self, table, chain, base, callable_chains, most):
        return [
            _line(chain, self._matches(base, table), self._target(table, base, callable_chains))
            for _ in range(self.rng.randrange(most + 1))
        ]

    def _table(self, table, bases, most):
        rng, lines, rules = self.rng, [f"*{table}"], []
        if table == "mangle":
            lines.append(":POSTROUTING ACCEPT [0:0]")
        for base in bases:
            default = rng.choice(["ACCEPT", "ACCEPT", "DROP"]) if table == "filter" else "ACCEPT"
            lines.append(f":{base} {default} [0:0]")
        for base in bases:
            users = [f"{base}-{n}" for n in range(rng.randrange(4))] if table != "raw" else []
            lines += [f":{name} - [0:0]" for name in users]
            rules += self._rules(table, base, base, users, most)
            for at, name in enumerate(users):
                rules += self._rules(table, name, base, users[at + 1 :], 4)
        return [*lines, *rules, "COMMIT"]

    def _tables(self):
        hooks = ["OUTPUT"] if self.outward else ["PREROUTING", "INPUT", "FORWARD"]
        lines = self._table("raw", hooks[:1], 2)
        marks, matches = (a + b for a, b in zip(self._marks(hooks), self._written(hooks), strict=True))
        lines += _first(self._table("mangle", hooks, 3), marks)
        # makes the kernel track connections whatever else is drawn
        lines = [*lines[:-1], "-A POSTROUTING -m conntrack --ctstate NEW", "COMMIT"]
        lines += _first(self._table("filter", hooks[-2:], 7), matches)
        return "\n".join(lines) + "\n"

    def _marks(self, hooks):
        """Return rules that write parts of a mark over one another, and rules that see what has come of it."""
        rng = self.rng
        if rng.random() < 0.4:
            return [], []
        before, (value, mask) = rng.choice([1, 4, 5, 9]), rng.choice([(2, 2), (2, 6), (0, 1), (3, 0), (8, 9)])
        after = (before & ~mask) ^ value
        marks = [f"-A {hooks[0]} -j MARK --set-xmark {before:#x}/0xffffffff",
                 f"-A {hooks[0]} {rng.choice(['', '-p tcp'])} -j MARK --set-xmark {value:#x}/{mask:#x}"]  # fmt: skip
        seen = [f"{after:#x}", f"{before:#x}", f"{after:#x}/{mask:#x}", f"{value:#x}"]
        return marks, [f"-A {hook} -m mark --mark {rng.choice(seen)} {rng.choice(['', '', '-j ACCEPT', '-j DROP'])}"
                       for hook in hooks[-2:] for _ in range(2)]  # fmt: skip

    def _written(self, hooks):
        """Return rules that write header fields, and rules that see what has come of it, a hop later or not."""
        rng = self.rng
        if rng.random() < 0.7:
            return [], []
        hop, hops = ("ttl", rng.choice([2, 64, 255])) if self.version == 4 else ("hl", rng.choice([2, 64, 255]))
        at = rng.choice(hooks)
        writing = [f"-A {at} {rng.choice(['', '-p udp'])} -j {hop.upper()} --{hop}-set {hops}",
                   f"-A {hooks[0]} -j {rng.choice(['TOS --set-tos 0x10/0xff', 'TOS --set-tos 0x03/0x01'])}",
                   f"-A {at} -j DSCP --set-dscp {rng.choice(['0x04', '0x3e'])}"]  # fmt: skip
        seen = [f"-m {hop} --{hop}-{rng.choice(['eq', 'gt', 'lt'])} {rng.choice([hops, hops - 1])}",
                f"-m tos --tos {rng.choice(['0x10', '0x12/0x12', '0x10/0xfc', '0x02/0x03'])}"]  # fmt: skip
        return writing, [f"-A {hook} {rng.choice(seen)} {rng.choice(['', '-j ACCEPT', '-j DROP'])}"
                         for hook in hooks[-2:] for _ in range(2)]  # fmt: skip


def _line(chain, matches, target):
    """Return a rule; a target that needs TCP brings that along, in place of another protocol."""
    if target.startswith("-p tcp") and "-p " in matches:
        target = "-j ACCEPT"
    return f"-A {chain} {matches} {target}"


def _first(lines, rules):
    """Put rules before all others of a table."""
    at = next((at for at, line in enumerate(lines) if line.startswith(("-A", "COMMIT"))), len(lines))
    return [*lines[:at], *rules, *lines[at:]]


def new_flow(rng, version, way, port):
    """Return a random packet of a new connection on its way in, through or out, in conntrack's eyes."""
    own, peer = ip_address(OWN[version]), ip_address(rng.choice(SOURCES[version]))
    kind = rng.random()
    if 0.75 <= kind < 0.9:
        peer = _alone(rng, version)
    elif way != "output" and rng.random() < 0.2:
        peer = ip_address(rng.choice(ODD[version]))
    src, dst = {"input": (peer, own), "forward": (peer, ip_address(BEYOND[version])), "output": (own, peer)}[way]
    tos = rng.choice([0, 0, 0x10, 0x08, 0xB8, 0x01, 0x03])
    common = {"src": src, "dst": dst, "ttl": rng.choice([64, 64, 63, 65]), "tos": tos}
    if way != "output":
        common |= {"iif": "eth0", "mac_src": rng.choice(MACS)}
    if kind < 0.55:
        flags = rng.choice([{"SYN"}, {"SYN"}, {"SYN"}, {"ACK"}, {"RST"}, set(), {"FIN", "ACK"}, {"SYN", "FIN"},
                            {"SYN", "ECE", "CWR"}, {"SYN", "CWR"}])  # fmt: skip
        state = CtState.NEW if flags - {"ECE", "CWR"} in ({"SYN"}, {"ACK"}) else CtState.INVALID
        flow = Flow(proto=6, sport=port, dport=rng.choice(PORTS), flags=frozenset(flags), ctstate=state, **common)
        size = 20
    elif kind < 0.75:
        flow, size = Flow(proto=17, sport=port, dport=rng.choice(PORTS), **common), 8
    elif kind < 0.9:
        flow, size = _other(rng, version, way, port, common)
    else:
        flow, size = _icmp(rng, version, common), 28
    return replace(flow, length=size + (20 if version == 4 else 40))


TAKEN = set()
"""The peers that were drawn; forgotten before each file of tests, so that what it draws is its own doing."""


def _alone(rng, version):
    """Return a peer that was not drawn before."""
    while True:
        base = ip_address(rng.choice(ROOM[version]))
        peer = base + (rng.randrange(20, 250) if version == 4 and rng.random() < 0.2 else rng.randrange(300, 65000))
        if peer not in TAKEN:
            TAKEN.add(peer)
            return peer


def _other(rng, version, way, port, common):
    """Return a packet of a protocol that is seldom met, and its size."""
    protocols = [50, 50, 33, 132] + ([51] if version == 4 else [135])
    proto = rng.choice([each for each in protocols if way != "output" or each != 132])
    if proto in {50, 51}:
        return Flow(proto=proto, spi=rng.choice([0, 100, 255, 256, 300, 70000]), **common), 24
    if proto == 135:
        return Flow(proto=proto, **common), 8
    state = CtState.NEW if proto == 33 else CtState.INVALID  # a wrong checksum
    flow = Flow(proto=proto, sport=port, dport=rng.choice(PORTS), ctstate=state, **common)
    return flow, 20 if proto == 33 else 32


def _icmp(rng, version, common):
    kinds = {
        4: [(8, 0, "NEW"), (13, 0, "NEW"), (0, 0, "INVALID")],
        6: [(128, 0, "NEW"), (129, 0, "INVALID"), (135, 0, "UNTRACKED")],
    }[version]
    kind, code, state = rng.choice(kinds)
    proto = 1 if version == 4 else 58
    return Flow(proto=proto, icmp_type=kind, icmp_code=code, ctstate=CtState(state), **common)
