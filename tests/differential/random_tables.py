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
            choices += ["-j CONNMARK --set-xmark 0x1/0x3", "-j CONNMARK --save-mark", "-j CONNMARK --restore-mark"]
        if table == "raw":
            choices += ["-j CT --notrack"]
        return rng.choice(choices)

    def _rules(self, table, chain, base, callable_chains, most):
        return [
            f"-A {chain} {self._matches(base, table)} {self._target(table, base, callable_chains)}"
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
        marks, matches = self._marks(hooks)
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


def _first(lines, rules):
    """Put rules before all others of a table."""
    at = next((at for at, line in enumerate(lines) if line.startswith(("-A", "COMMIT"))), len(lines))
    return [*lines[:at], *rules, *lines[at:]]


def new_flow(rng, version, way, port):
    """Return a random packet of a new connection on its way in, through or out, in conntrack's eyes."""
    own, peer = ip_address(OWN[version]), ip_address(rng.choice(SOURCES[version]))
    src, dst = {"input": (peer, own), "forward": (peer, ip_address(BEYOND[version])), "output": (own, peer)}[way]
    kind = rng.random()
    common = {"src": src, "dst": dst, "ttl": rng.choice([64, 64, 63, 65]), "tos": rng.choice([0, 0, 0x10, 0x08])}
    if way != "output":
        common |= {"iif": "eth0", "mac_src": rng.choice(MACS)}
    if kind < 0.6:
        flags = rng.choice([{"SYN"}, {"SYN"}, {"SYN"}, {"ACK"}, {"RST"}, set(), {"FIN", "ACK"}, {"SYN", "FIN"}])
        state = CtState.NEW if flags in ({"SYN"}, {"ACK"}) else CtState.INVALID
        flow = Flow(proto=6, sport=port, dport=rng.choice(PORTS), flags=frozenset(flags), ctstate=state, **common)
        size = 20
    elif kind < 0.8:
        flow, size = Flow(proto=17, sport=port, dport=rng.choice(PORTS), **common), 8
    else:
        flow, size = _icmp(rng, version, common), 28
    return replace(flow, length=size + (20 if version == 4 else 40))


def _icmp(rng, version, common):
    kinds = {
        4: [(8, 0, "NEW"), (13, 0, "NEW"), (0, 0, "INVALID")],
        6: [(128, 0, "NEW"), (129, 0, "INVALID"), (135, 0, "UNTRACKED")],
    }[version]
    kind, code, state = rng.choice(kinds)
    proto = 1 if version == 4 else 58
    return Flow(proto=proto, icmp_type=kind, icmp_code=code, ctstate=CtState(state), **common)
