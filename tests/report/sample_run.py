"""Makes the results of an audit of the published and the repaired server, in the words of data/sample.yaml.

Everything is fixed (ids, times; hashes follow from contents), so that what is rendered from it is a golden.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import yaml

from fwproof.results import (
    Admissions,
    Allowance,
    AllowedRule,
    Attempts,
    CheckResult,
    CoveredRule,
    CoveringProbe,
    Drift,
    Results,
    RuleCoverage,
    Verdict,
)
from fwproof.run_record import (
    Artefact,
    Authorised,
    Controller,
    HostRecord,
    Inexact,
    Previous,
    Run,
    Understood,
    VantageRecord,
    WaiverRecord,
)

DATA = yaml.safe_load(Path(__file__).with_name("data").joinpath("sample.yaml").read_text("utf-8"))
HOSTS = DATA["hosts"]
FAMILIES = ("ipv4", "ipv6")
DENY = "Everything that no expectation allows is refused"

LIMITED = Inexact(how="bounded", rule="ip filter DROP_IN rule 1", line=29, why="depends on limit 10/sec burst 20",
                  text="-A DROP_IN -m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-group 5")  # fmt: skip
UNREAD = Inexact(how="unknown", rule="inet t in rule 2", line=12, text='xt match "bpf" drop',
                 why="the match is not understood: bpf")  # fmt: skip
RUBBISH = Inexact(how="unparsed", rule="", line=7, text="-X", why="expected -A CHAIN and a rule")
BRIDGED = "nft table bridge b (1 rule) sees frames, not routed packets: it is not asked"
UNDERSTOOD = [
    Understood(family="ipv4", source="iptables-nft", text="iptables-save", exact=13, bounded=1, unknown=0, unparsed=1,
               inexact=[RUBBISH, LIMITED], notes=[]),
    Understood(family="ipv6", source="nft", text="nft", exact=6, bounded=0, unknown=1, unparsed=0,
               inexact=[UNREAD], notes=[BRIDGED]),
]  # fmt: skip

COVERED = RuleCoverage(
    total=2, reachable=2, reached=1, confirmed=1, gaps=["nothing is sent from store-redis: no agent"],
    rules=[
        CoveredRule(place="ip filter INPUT rule 1", text="-A INPUT -i lo -j ACCEPT", status="confirmed",
                    why="its counter moved as far as what was sent explains", probes=["p1"], packets=4, counted=4),
        CoveredRule(place="ip filter INPUT rule 2", text="-A INPUT -i eth1 -j ACCEPT", status="elsewhere", probes=[],
                    why="a vantage at 192.0.2.7 would do, whose packets come in by eth1", packets=0, counted=None),
    ],
    probes=[CoveringProbe(name="p1", hook="output", sender="ai-server", packet="udp 10.0.0.10 -> 10.0.0.10:9, NEW")],
)  # fmt: skip


def _check(host: str, kind: str, name: str, line: int, **told) -> CheckResult:
    sample = told.get("service") if name.startswith("default") else None
    parts = [host, told.get("vantage"), sample, told.get("family")]
    six = told.get("family") == "ipv6"
    blank = {
        "vantage": None, "family": None, "service": None, "direction": None, "severity": "high", "title": DENY,
        "expected": "", "reason": "", "proved": "", "observed": "", "attributed": "", "rule": "", "cause": "",
        "fix": "", "evidence": [], "artefacts": [f"evidence/{host}/{'ip6' if six else 'ip'}tables-save.txt"],
        "controls": DATA["controls"].get(kind.removesuffix("-default"), DATA["controls"]["other"]), "seconds": 0.012,
    }  # fmt: skip
    fields = blank | told | {"verdict": Verdict(told.get("verdict", "pass"))}
    identity = f"{name}[{'-'.join(part for part in parts if part)}]"
    return CheckResult(
        **fields,
        id=identity,
        expectation=name,
        policy="ai-server",
        file=DATA["policy"],
        line=line,
        host=host,
        kind=kind,
    )


def _flow(proto: str, port: int | None, src: str, dst: str) -> str:
    if port is None:
        return f"icmp type 8 {src} -> {dst}"
    ends = [f"[{address}]:{at}" if ":" in address else f"{address}:{at}" for address, at in ((src, 40112), (dst, port))]
    return f"{proto} {ends[0]} -> {ends[1]}"


def _answer(name: str, **words) -> dict:
    """Return an answer of the data with its placeholders filled in."""
    filled = {}
    for key, value in DATA["answers"][name].items():
        filled[key] = [line.format(**words) for line in value] if isinstance(value, list) else value.format(**words)
    return filled


def _inbound(host: str, service: str, vantage: str, family: str) -> CheckResult:
    found = (allow for allow in DATA["allowed"] if allow["service"] == service and vantage in allow["from"])
    allow = next(found, None)
    six, (proto, port) = family == "ipv6", DATA["services"][service]
    table = "ip6 filter INPUT" if six else "ip filter INPUT"
    if host == "ai-server":
        answer = "accepted" if allow else "refused"
    elif six:
        answer = "no-neighbour" if allow else "refused"
    else:
        answer = "reply-dropped" if allow else "let-in"
    told = _answer(
        answer,
        flow=_flow(proto, port, DATA["vantages"][vantage][six], HOSTS[host][six]),
        table=table,
        rule=f"{table} rule 6: -A INPUT -p {proto} -m {proto} --dport {port} -m conntrack --ctstate NEW -j ACCEPT",
    )
    told |= {
        "vantage": vantage, "service": service, "family": family, "direction": "inbound",
        "expected": "allow" if allow else "deny", "title": allow["title"] if allow else DENY,
        "artefacts": [
            f"evidence/{host}/{'ip6' if six else 'ip'}tables-save.txt", f"evidence/probes/{vantage}-{host}.pcap",
        ],
    }  # fmt: skip
    if allow:
        return _check(host, "inbound", allow["id"], allow["line"], **told)
    return _check(host, "inbound-default", "default-deny-inbound", 11, **told)


def _outbound(host: str, peer: str, port: int, family: str) -> CheckResult:
    far, six = DATA["egress"][peer], family == "ipv6"
    allow = far["id"] is not None and far["port"] == port
    table, dst = "ip6 filter OUTPUT" if six else "ip filter OUTPUT", far["to"][six]
    dead = host != "ai-server" and six
    told = _answer(
        ("egress-dead" if dead else "accepted") if allow else "stopped",
        flow=_flow("tcp", port, HOSTS[host][six], dst),
        table=table,
        rule=f"{table} rule 3: -A OUTPUT -d {dst} -p tcp -m tcp --dport {port} -j ACCEPT",
        dst=dst,
        port=port,
    )
    told |= {
        "vantage": peer, "service": f"tcp/{port}", "family": family, "direction": "outbound",
        "expected": "allow" if allow else "deny", "title": f"The server reaches {peer}" if allow else DENY,
    }  # fmt: skip
    if allow:
        return _check(host, "outbound", far["id"], far["line"], **told)
    return _check(host, "outbound-default", "default-deny-outbound", 29, **told)


def _other(host: str, entry: dict) -> list[CheckResult]:
    about = dict(entry["about"])
    kind, name, line, families = (about.pop(key) for key in ("kind", "id", "line", "families"))
    told = entry["good"] if host == "ai-server" else entry["bad"] | {"verdict": "fail"}
    if "artefact" in about:
        about["artefacts"] = [f"evidence/{host}/{about.pop('artefact')}"]
    return [_check(host, kind, name, line, family=family, **about, **told) for family in families]


def results() -> Results:
    """The whole run: every vantage x service x family on both servers, egress, and the other checks."""
    checks: list[CheckResult] = []
    for host in HOSTS:
        checks += [_inbound(host, s, v, f) for s in DATA["services"] for v in DATA["vantages"] for f in FAMILIES]
        ports = sorted(far["port"] for far in DATA["egress"].values())
        checks += [_outbound(host, peer, port, f) for peer in DATA["egress"] for port in ports for f in FAMILIES]
        checks += [check for entry in DATA["others"] for check in _other(host, entry)]
    checks += [
        replace(_check("ai-server", "coverage", "coverage", 90, family=family), coverage=COVERED) for family in FAMILIES
    ]
    checks = [
        _unsettled(check) if check.id.endswith("published-postgres-udp/9999-ipv6]") else check for check in checks
    ]
    return Results(run=_run(len(checks)), checks=tuple(checks))


def everything() -> Results:
    """The whole run, and with it something for every section that a report may have."""
    plain = results()
    first = next(check for check in plain.checks if check.verdict is Verdict.FAIL and check.kind == "inbound")
    waived = replace(first, verdict=Verdict.WAIVED, waiver="W-1", reason=f"{first.reason}. Waived by W-1")
    checks = [_measured(waived if check is first else check) for check in plain.checks]
    checks += [_claim(*about) for about in DATA["claims"]] + [_drifted(host) for host in HOSTS]
    run = plain.run
    hosts = [replace(host, machine_id="a1b2" * 16, backends=["iptables v1.8.9 (nf_tables)"]) for host in run.hosts]
    hosts.append(replace(hosts[1], name="web-old", addresses=["10.0.0.12"], error="web-old: connection refused"))
    return Results(checks=tuple(checks), run=replace(
        run, hosts=hosts, planned=len(checks) + 5, trigger="schedule", waivers=[WaiverRecord(**DATA["waiver"])],
        stopped=["the authorisation ended at 2026-11-22T10:01+00:00"], outside=DATA["outside"], zones=DATA["zones"],
        authorisation=Authorised(**DATA["authorised"]),
        previous=Previous(run="20261115T100000Z-77aa", sha256sums="0f" * 32),
        controller=Controller(host="audit01", system="Debian GNU/Linux 12", clock="synchronised by NTP",
                              commit="1f" * 20, tool_sha256="c0ff" * 16),
        vantages=[VantageRecord(name=name, access="root", addresses=own, sources=own[:1])
                  for name, own in DATA["vantages"].items()],
    ))  # fmt: skip


def _measured(check: CheckResult) -> CheckResult:
    if check.kind != "rate":
        return check
    admitted = 20 if check.host == "ai-server" else 19
    burst = Attempts(source="10.0.5.7", at=[0.002 * n for n in range(25)] + [30.0, 61.0],
                     fates="y" * admitted + "n" * (26 - admitted) + "y")  # fmt: skip
    other = Attempts(source="10.0.5.8", at=[1.0, 1.5, 2.0], fates="yy?")
    return replace(check, admissions=Admissions(limit=20, per=60.0, by="source", series=[burst, other]))


def _claim(host: str, service: str, family: str, packets: int | None) -> CheckResult:
    allow = next(allow for allow in DATA["allowed"] if allow["service"] == service)
    proto, port = DATA["services"][service]
    rule = AllowedRule(
        place="ip filter INPUT rule 6", text=f"-A INPUT -p {proto} --dport {port} -j ACCEPT", packets=packets
    )
    found = Allowance(service=f"{proto}/{port}", peers="internal", networks=["10.0.0.0/16"], rules=[rule])
    told = {"service": service, "family": family, "direction": "inbound", "expected": "allow", "title": allow["title"]}
    claim = _check(host, "claim", allow["id"], allow["line"], **told)
    return replace(claim, id=f"{claim.id}:{service}", owner="Model platform team", allowance=found,
                   justification="RAG jobs use the API; CHG-2291")  # fmt: skip


def _drifted(host: str) -> CheckResult:
    good = host == "ai-server"
    told = {
        "family": "ipv4",
        "expected": "the same as in the baseline",
        "title": "The tables are those of the baseline",
    }
    found = _check(host, "drift", "baseline", 50, **told, verdict="pass" if good else "fail",
                   cause="" if good else "the tables have drifted from their baseline")  # fmt: skip
    drift = Drift(**(DATA["drift"] | ({"open": [], "unclear": []} if good else {"accepted": []})))
    return replace(found, drift=drift, reason="; ".join([*drift.open, *drift.accepted]))


def _unsettled(check: CheckResult) -> CheckResult:
    return replace(
        check,
        verdict=Verdict.INCONCLUSIVE,
        cause="not settled on the wire",
        reason="the far end's capture lost 12 packets (tp_drops), so its silence proves nothing",
        fix="Repeat the check, or probe from another vantage.",
    )


def _run(checks: int) -> Run:
    watched = "the data stores grant no access: arrival there was not watched"
    hosts = [
        HostRecord(
            name=name, addresses=addresses, access="observe", kernel="6.1.0-28-amd64",
            firewall="iptables-nft", rules={"exact": 19, "oracle": 1, "opaque": 1, "unparsed": 1}, error="",
            understood=UNDERSTOOD if name == "ai-server" else [],
            limits=[watched] if name == "ai-server" else [watched, "the jail watches no file, so no ban was provoked"],
        )
        for name, addresses in HOSTS.items()
    ]  # fmt: skip
    status = [
        Artefact(path=f"evidence/{host}/fail2ban-status.txt", sha256="", size=0, what="fail2ban-client status")
        for host in HOSTS
    ]
    return Run(
        id="20261122T100000Z-5a3c91d2", started="2026-11-22T10:00:00Z", ended="2026-11-22T10:01:17Z", seconds=77.4,
        tool="fwproof 0.1.0", versions={"python": "3.11.2", "scapy": "2.8.0", "iptables": "1.8.9", "nft": "1.0.6"},
        operator="auditor", command="pytest checks --inventory fixtures/inventory.yaml",
        inventory="fixtures/inventory.yaml", inventory_sha256="9f2c" * 16, policies={DATA["policy"]: "4e1b" * 16},
        hosts=hosts, planned=checks + 2, deselected=2, artefacts=status,
    )  # fmt: skip


def evidence() -> dict[str, bytes]:
    """Raw evidence as the audit hands it over."""
    files = {}
    for host in HOSTS:
        policy = "DROP" if host == "ai-server" else "ACCEPT"
        for name in ("iptables-save", "ip6tables-save"):
            files[f"evidence/{host}/{name}.txt"] = (
                f"# {name} of {host}\n*filter\n:INPUT {policy} [0:0]\nCOMMIT\n".encode()
            )
        files[f"evidence/{host}/fail2ban-status.txt"] = b"Status for the jail: ollama-api\n`- File list:\t\n"
        for vantage in DATA["vantages"]:
            files[f"evidence/probes/{vantage}-{host}.pcap"] = _pcap(vantage.encode())
    return files


def _pcap(payload: bytes) -> bytes:
    # pcap-savefile(5): magic, version 2.4, zone, accuracy, snap length, LINKTYPE_RAW; then one packet of time 0
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    return head + struct.pack("<IIII", 0, 0, len(payload), len(payload)) + payload
