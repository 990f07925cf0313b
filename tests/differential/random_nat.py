"""Random tables that translate addresses, and packets on their way through them."""

from dataclasses import replace
from ipaddress import ip_address

from fwproof.flow import CtState, Flow

PEERS = {
    4: ["10.0.0.1", "10.0.0.100", "10.0.5.7", "192.0.2.9", "203.0.113.4"],
    6: ["fd00:0:0:1::1", "fd00:0:0:1::100", "2001:db8::9", "2001:db8:1::4"],
}
OWN = {4: ["10.0.0.10", "10.9.0.1"], 6: ["fd00:0:0:1::10", "fd00:9::1"]}
FAR = {4: ["10.9.0.7", "10.9.0.8", "10.9.0.9"], 6: ["fd00:9::7", "fd00:9::8", "fd00:9::9"]}
MAPPED = {4: ["10.9.0.4", "10.9.0.10", "10.9.0.100"], 6: ["fd00:9::4", "fd00:9::10", "fd00:9::100"]}
"""What NETMAP may make of the addresses above, beside those of ``FAR``."""
FAR_NET = {4: ("10.9.0.0/24", "10.8.0.0/24"), 6: ("fd00:9::/64", "fd00:8::/64")}
NEW_SOURCES = {4: ["10.9.0.1", "10.9.0.77", "198.51.100.1"], 6: ["fd00:9::1", "fd00:9::77", "2001:db8:2::1"]}
ODD_SOURCES = ["10.0.0.10", "127.0.0.5", "10.9.0.55", "10.9.0.56", "224.0.0.9", "255.255.255.255"]
"""Own, loopback, from the other side, multicast, broadcast: what the routing has something against."""
PORTS = [22, 53, 80, 443, 8080, 11434]


class NatTables:
    """One random set of tables of one family that translate; ``outward``: of what the host itself sends."""

    def __init__(self, rng, version, *, outward):
        self.rng, self.version, self.outward = rng, version, outward
        self.text = "\n".join([*self._mangle(), *self._nat(), *self._filter()]) + "\n"

    def _bang(self):
        return "! " if self.rng.random() < 0.2 else ""

    def _end(self, address, port):
        head = f"[{address}]" if self.version == 6 and port else address
        return f"{head}:{port}" if port else head

    def _match(self, chain, proto=""):
        rng, v, parts = self.rng, self.version, [proto] if proto else []
        if rng.random() < 0.25:
            parts.append(f"{self._bang()}-s {rng.choice([*PEERS[v], FAR_NET[v][0]])}")
        if rng.random() < 0.35:
            parts.append(f"{self._bang()}-d {rng.choice([*OWN[v], *FAR[v], *FAR_NET[v]])}")
        if rng.random() < 0.2 and chain not in {"OUTPUT", "POSTROUTING"}:
            parts.append(f"{self._bang()}-i {rng.choice(['eth0', 'eth+', 'lo'])}")
        if rng.random() < 0.3 and chain in {"FORWARD", "POSTROUTING", "OUTPUT"}:
            parts.append(f"{self._bang()}-o {rng.choice(['eth0', 'eth1', 'lo', 'eth+'])}")
        if not proto and rng.random() < 0.4:
            parts.append(f"-p {rng.choice(['tcp', 'udp'])} {self._bang()}--dport {rng.choice(PORTS)}")
        if rng.random() < 0.35:
            parts.append(self._module(ported=any("-p " in part for part in parts)))
        return " ".join(parts)

    def _module(self, *, ported):
        rng, v = self.rng, self.version
        port = rng.choice([str(rng.choice(PORTS)), "50:500"])
        # what conntrack keeps in place of ports where there are none, the model does not say
        tuples = [
            f"conntrack --ctstate NEW,INVALID {self._bang()}--ctorigdstport {port}",
            f"conntrack --ctstate NEW,UNTRACKED {self._bang()}--ctreplsrcport {port}",
            f"conntrack {self._bang()}--ctreplsrcport {port}",
        ]
        return "-m " + rng.choice([
            *(tuples if ported else ()),
            f"addrtype {self._bang()}--dst-type {rng.choice(['LOCAL', 'UNICAST'])}",
            f"addrtype {self._bang()}--src-type LOCAL",
            f"conntrack {self._bang()}--ctstate {rng.choice(['DNAT', 'SNAT', 'DNAT,SNAT', 'NEW', 'DNAT,ESTABLISHED'])}",
            f"conntrack {self._bang()}--ctorigdst {rng.choice([*OWN[v], *FAR[v], FAR_NET[v][0]])}",
            f"conntrack {self._bang()}--ctorigsrc {rng.choice(PEERS[v])}",
            f"conntrack {self._bang()}--ctreplsrc {rng.choice([*OWN[v], *FAR[v], FAR_NET[v][0]])}",
            f"conntrack {self._bang()}--ctrepldst {rng.choice(PEERS[v])}",
            f"conntrack --ctstate NEW --ctorigdst {rng.choice(OWN[v])} --ctdir {rng.choice(['ORIGINAL', 'REPLY'])}",
        ])  # fmt: skip

    def _dnat(self):
        rng, v = self.rng, self.version
        to, proto = rng.choice([*FAR[v], *FAR[v], *OWN[v]]), f"-p {rng.choice(['tcp', 'udp'])}"
        return rng.choice([
            (proto, f"DNAT --to-destination {self._end(to, rng.choice([80, 8080, 22]))}"),
            (proto, f"DNAT --to-destination {self._end(to, rng.choice([80, 8080, 22]))}"),
            (proto, f"DNAT --to-destination :{rng.choice(PORTS)}"),
            ("", f"DNAT --to-destination {to}"),
            (proto, f"REDIRECT --to-ports {rng.choice(PORTS)}"),
            ("", "REDIRECT"),
            ("", f"NETMAP --to {FAR_NET[v][0]}"),
        ])  # fmt: skip

    def _snat(self, base):
        rng, v = self.rng, self.version
        if rng.random() < 0.45 and base == "POSTROUTING":
            return "", "MASQUERADE"
        to = rng.choice(NEW_SOURCES[v])
        if rng.random() < 0.4:
            return f"-p {rng.choice(['tcp', 'udp'])}", f"SNAT --to-source {self._end(to, '1024-65000')}"
        return "", f"SNAT --to-source {to}"

    def _nat_rules(self, base, chain, most, users):
        rng, rules = self.rng, []
        for _ in range(rng.randrange(1, most + 1)):
            proto, target = "", rng.choice(["ACCEPT", "RETURN", *users])
            if rng.random() < 0.6:
                proto, target = self._dnat() if base in {"PREROUTING", "OUTPUT"} else self._snat(base)
            rules.append(f"-A {chain} {self._match(base, proto)} -j {target}")
        return rules

    def _nat(self):
        bases = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
        used = ["OUTPUT", "POSTROUTING"] if self.outward else ["PREROUTING", "POSTROUTING", "INPUT"]
        lines = ["*nat", *(f":{base} ACCEPT [0:0]" for base in bases)]
        rules = []
        for base in used:
            user = f"{base}-user"
            lines.append(f":{user} - [0:0]")
            rules += self._nat_rules(base, base, 3, [user])
            rules += self._nat_rules(base, user, 2, [])
        return [*lines, *rules, "COMMIT"]

    def _filter(self):
        rng = self.rng
        used = ["OUTPUT"] if self.outward else ["INPUT", "FORWARD"]
        lines = ["*filter"]
        lines += [f":{b} {rng.choice(['ACCEPT', 'ACCEPT', 'DROP']) if b in used else 'ACCEPT'} [0:0]"
                  for b in ("INPUT", "FORWARD", "OUTPUT")]  # fmt: skip
        for base in used:
            for _ in range(rng.randrange(6)):
                lines.append(f"-A {base} {self._match(base)} -j {rng.choice(['ACCEPT', 'ACCEPT', 'DROP'])}")
        return [*lines, "COMMIT"]

    def _mangle(self):
        rng = self.rng
        lines = ["*mangle", ":PREROUTING ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]"]
        for base in ["POSTROUTING"] if self.outward else ["PREROUTING", "FORWARD", "POSTROUTING"]:
            lines += [f"-A {base} {self._match(base)}" for _ in range(rng.randrange(3))]
        return [*lines, "COMMIT"]


def nat_flow(rng, version, port, *, outward):
    """Return a random first packet of a connection that comes in by eth0, or that the host sends."""
    src = ip_address(rng.choice(PEERS[version]))
    dst = ip_address(rng.choice([*OWN[version], *OWN[version], *FAR[version]]))
    if outward:
        src, dst = ip_address(OWN[version][0]), ip_address(rng.choice([*PEERS[version], *FAR[version], *OWN[version]]))
    elif version == 4 and rng.random() < 0.2:
        src = ip_address(
            rng.choice(["10.0.0.10", "127.0.0.5", "10.9.0.55", "10.9.0.56", "224.0.0.9", "255.255.255.255"])
        )
    common = {"src": src, "dst": dst, "iif": None if outward else "eth0"}
    kind = rng.random()
    size = 20 if version == 4 else 40
    if kind < 0.5:
        return Flow(proto=6, sport=port, dport=rng.choice(PORTS), flags=frozenset({"SYN"}), length=size + 28, **common)
    if kind < 0.8:
        return Flow(proto=17, sport=port, dport=rng.choice(PORTS), length=size + 16, **common)
    proto, icmp_type = (1, 8) if version == 4 else (58, 128)
    return Flow(proto=proto, icmp_type=icmp_type, icmp_code=0, ctstate=CtState.NEW, length=size + 16, **common)


def stray(flow):
    """Return the same packet as one that conntrack calls invalid."""
    return replace(flow, flags=frozenset({"SYN", "FIN"}), ctstate=CtState.INVALID) if flow.proto == 6 else flow
