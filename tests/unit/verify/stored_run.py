"""An audit without a network: real policies, tables, models and judges, and a wire that does what the tables say.

Not a test itself. Everything is written by the audit's own code, as after a real run.
"""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from fwproof.audit import dropping, exercises
from fwproof.audit.evidence import evidence_of
from fwproof.audit.field import Field
from fwproof.audit.forms import form_probes, rule_form, tracks
from fwproof.audit.gather import Gathered, read_baseline
from fwproof.audit.listening import sockets_of
from fwproof.audit.modelling import families_of, front_ends_of, model_of
from fwproof.audit.probes import ask
from fwproof.audit.run import AuditRun
from fwproof.covered import CoverageFacts
from fwproof.errors import NotThere
from fwproof.evidence.droplog import parse_log
from fwproof.facts import (
    BanFacts,
    Connected,
    Counted,
    EvasionFacts,
    Facts,
    FlowFacts,
    FormFacts,
    NeighbourFacts,
    SocketFacts,
)
from fwproof.flows import request
from fwproof.hosts import replay
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.observation import Observation, PortState, Probe, Seen
from fwproof.plan import Kind
from fwproof.report.document import read_results
from fwproof.report.formats import FORMATS
from fwproof.report.manifest import MANIFEST, SUMS, digest, sums
from fwproof.report.sign import SIGNATURE
from fwproof.report.write import REPORTS
from fwproof.snapshot import Capture, Snapshot

AT = "2026-11-22T10:00:00Z"
TABLE = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s {inside} -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -s {inside} -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -m recent --update --seconds 60 --hitcount 5 \
--name WEB --rsource -j DROP
-A INPUT -s {inside} -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -m recent --set --name WEB --rsource -j ACCEPT
-A INPUT -j LOG --log-prefix "DROPPED "
COMMIT
"""
BANNED = TABLE.replace("-A INPUT -i lo", "-A INPUT -s 10.0.0.9/32 -j DROP\n-A INPUT -i lo")
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},'
    ' {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.1", "prefixlen": 24}]}]'
)
DUMP = """['add', 'web', 'polling']
['multi-set', 'web', 'addfailregex', ['^login failed from <HOST>$']]
['set', 'web', 'maxretry', 3]
['set', 'web', 'findtime', '60']
['set', 'web', 'bantime', '600']
['set', 'web', 'addlogpath', '/var/log/web.log', 'head']
"""
STATUS = """Status for the jail: web
|- Filter
|  |- Currently failed:\t0
|  |- Total failed:\t0
|  `- File list:\t/var/log/web.log
`- Actions
   |- Currently banned:\t0
   |- Total banned:\t0
   `- Banned IP list:\t
"""
LINE = "Nov 22 10:00:01 web kernel: DROPPED IN=eth0 OUT= SRC=192.0.2.7 DST=10.0.0.1 LEN=60 PROTO=TCP SPT=64001 DPT=9"
TEXTS = {
    "iptables-save": TABLE.format(inside="10.0.0.0/24"),
    "ip-addr": ADDRESSES,
    "sockets": "",
    "boot-links": "",
    "uname": "Linux web 6.1.0 #1 SMP x86_64 GNU/Linux",
    "ip-route": '[{"dst": "default", "gateway": "10.0.0.254", "dev": "eth0"}, {"dst": "10.0.0.0/24", "dev": "eth0"}]',
    "fail2ban-status": "Status\n|- Number of jail:\t1\n`- Jail list:\tweb\n",
    "fail2ban-dump": DUMP,
    "fail2ban-status-web": STATUS,
    "fail2ban-failregex-web": "The following regular expression are defined:\n`- [0]: ^login failed from (?P<ip4>x)$\n",
    "identity": f"machine-id {'ab' * 32}\nnft nftables v1.0.6\n",
}
POLICY = """policy: web
hosts: [web]
inbound:
  default: deny
  samples: [tcp/9]
  evasion: {forms: [flags, source-ports], from: [far]}
  allow:
    - {id: ssh, service: tcp/22, from: inside}
    - id: http
      service: tcp/80
      from: inside
      rate: {limit: 5, per: 60s, by: source}
essential: [loopback, established]
bans:
  jail: web
  service: tcp/80
  maxretry: 3
  findtime: 60
  bantime: 600
  exercise: true
  provoke: {method: GET, path: /login, headers: {X-Door: open-sesame-1}}
drop_log: {inbound: true, exercise: true}
rules: {}
coverage: {}
baseline: baseline/web
ipv6: deny
"""
INVENTORY = """zones:
  inside: [10.0.0.0/24]
  far: [192.0.2.0/24]
hosts:
  web: {addresses: [10.0.0.1], access: root, drop_log: /var/log/drop.log}
  near: {addresses: [10.0.0.9], access: root, vantage: true}
  far: {addresses: [192.0.2.7], access: root, vantage: true}
"""


def snapshot(**texts):
    """Return what was read of the host, with some texts changed."""
    texts = TEXTS | {name.replace("_", "-"): text for name, text in texts.items()}
    there = {
        name: Capture(name=name, argv=(name,), status=0, stdout=text, stderr="", at=AT, seconds=0.1)
        for name, text in texts.items()
    }
    others = [each.name for each in (*PLAIN_COMMANDS, *ROOT_COMMANDS) if each.name not in there]
    return Snapshot(host="web", captures=there, faults={name: NotThere("web", "not there") for name in others})


class Offline(AuditRun):
    """An audit whose facts are made here; ``write`` judges and stores it."""

    def __init__(self, root, policy=POLICY, inventory=INVENTORY, read=None, **settings):
        for name, text in {"web.policy.yaml": policy, "inventory.yaml": inventory}.items():
            (root / name).write_text(text, encoding="utf-8")
        self.read = read or snapshot()
        replay.save(self.read, root / "baseline" / "web")
        super().__init__(inventory_path=root / "inventory.yaml", reports=root / "reports", exercise=True,
                         command="pytest checks", root=root, **settings)  # fmt: skip

    def write(self, last=None):
        """Judge every check, or those before ``last``, and store the run; return its folder."""
        checks = self.checks_of(self.root / "web.policy.yaml")
        self.select(checks)
        found = Field(self.inventory)
        self.gathered = Gathered(facts=self.facts(checks), field=found, audited=("web",))
        found.record.keep(self.bursts)
        self.gathered.evidence |= evidence_of(self.gathered.facts)
        for check in checks[:last]:
            self.judge(check)
        self.finish()
        return self.folder

    def facts(self, checks):
        """Return what an audit would have found out."""
        self.model, self.bursts = model_of(self.read, families_of(checks)["web"]), []
        flows = {c.id: self.flow(c) for c in checks if c.kind in {Kind.INBOUND, Kind.INBOUND_DEFAULT} and c.vantage}
        tried = {c.id: TRIED[c.kind](self, c) for c in checks if c.kind in TRIED}
        baselines = {
            (c.host, c.expectation.folder(c.host)): read_baseline(c.host, c.expectation.folder(c.host), {c.family})
            for c in checks
            if c.kind is Kind.DRIFT
        }
        snapshots, models = {"web": self.read}, {"web": self.model}
        return Facts(
            inventory=self.inventory,
            snapshots=snapshots,
            models=models,
            agents=dict.fromkeys(self.inventory.hosts),
            flows=flows,
            exercised=tried,
            baselines=baselines,
            front_ends=front_ends_of(snapshots, models),
        )

    def seen(self, probe, *, let_in, number=0):
        """Return what both ends saw of a probe."""
        flow = (
            replace(probe.flow, sport=64001 + number)
            if probe.form.low_port is None
            else replace(probe.flow, dport=64001)
        )
        packet = Seen(
            host="web", direction="in", time=1763805600.25 + number, summary=str(flow), raw=b"\x45" + bytes(19)
        )
        return Observation(
            probe=replace(probe, flow=flow),
            state=PortState.OPEN if let_in else PortState.SILENT,
            sent=1,
            arrived=True,
            confirmed=let_in,
            packets=(packet,),
        )

    def flow(self, check):
        one = ask(check, self.model, exercises.own_in(self.inventory, check), self.inventory)
        let_in = (one.fresh or one.ruling).accepted
        seen = self.seen(one.probe, let_in=let_in)
        counted = None if one.decider is None else Counted(rule=one.decider, probes=1, moved=1)
        connected = Connected(ok=True, detail="connected in 1 ms") if let_in and check.expected == "allow" else None
        return FlowFacts(
            flow=seen.probe.flow,
            ruling=one.ruling,
            reply=one.reply,
            fresh=one.fresh,
            observation=seen,
            counted=counted,
            connected=connected,
        )

    def burst(self, check):
        told = exercises.foreseen(self.inventory, check, self.model)
        probe = Probe(ref="0", sender=check.vantage, receiver="web", flow=exercises.burst_flow(self.inventory, check))
        seen = [self.seen(probe, let_in=good, number=n) for n, good in enumerate(told.predicted)]
        self.bursts += seen
        return exercises.counted(told, seen)

    def forms(self, check):
        found = []
        for probe in form_probes(self.inventory, check):
            ruling = rule_form(self.model, probe.form, probe.flow)
            seen = self.seen(probe, let_in=ruling.accepted)
            known = FlowFacts(flow=seen.probe.flow, ruling=ruling, observation=seen)
            found.append(FormFacts(form=probe.form, known=known, tracked=tracks(self.model, probe.flow)))
        return EvasionFacts(forms=tuple(found))

    def log(self, check):
        told = dropping.foreseen(self.inventory, check, self.model)
        return replace(told, line=next(iter(parse_log(LINE))), observed="silent", lines_read=1)

    def ban(self, check):
        banned = model_of(snapshot(iptables_save=BANNED.format(inside="10.0.0.0/24")), {check.family})
        return BanFacts(
            attempts=3,
            banned=True,
            refused=True,
            others_unharmed=None,
            unbanned=True,
            open_again=True,
            steps=("in the jail's ban list after 0.2 s",),
            flow=request(check.service, check.peer, ip_address("10.0.0.1")),
            before=self.model,
            during=banned,
            after=self.model,
            held=("iptables-save",),
        )

    def coverage(self, check):
        return CoverageFacts(rules=tuple(rule.ref for rule in self.model.rules(check.family)), model=self.model)

    def sockets(self, check):
        before, gap = sockets_of(self.read)
        return SocketFacts(before=before, after=before, gap=gap)


TRIED = {
    Kind.RATE: Offline.burst, Kind.EVASION: Offline.forms, Kind.DROP_LOG: Offline.log, Kind.BAN_EXERCISE: Offline.ban,
    Kind.COVERAGE: Offline.coverage, Kind.LISTENERS: Offline.sockets,
    Kind.LOOPBACK: lambda _run, _check: Connected(ok=True, detail="connected"),
    Kind.NEIGHBOUR: lambda _run, _check: NeighbourFacts(answered=True, detail="answered"),
}  # fmt: skip


def files(folder):
    """Return all files of a run by path."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def write(folder, path, content):
    """Change a file of a run and nothing else."""
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content if isinstance(content, bytes) else content.encode())


def forge(folder, path=None, content=None, *, reports=True):
    """Change a file and do all hashes again, as somebody who knows the format would; ``reports``: these as well."""
    if path is not None:
        write(folder, path, content)
    document = json.loads((folder / "results.json").read_bytes())
    if path is not None and path.startswith("evidence/"):
        for artefact in document["run"]["artefacts"]:
            content = (folder / artefact["path"]).read_bytes()
            artefact |= {"sha256": digest(content), "size": len(content)}
    if reports:
        checks = document["checks"]
        for verdict in ("pass", "fail", "error", "inconclusive", "not_applicable"):
            document["counts"][verdict] = sum(c["verdict"].replace("-", "_") == verdict for c in checks)
        document["counts"]["run"] = len(checks)
        (folder / "results.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
        results = read_results(folder)
        for name, form in REPORTS.items():
            (folder / name).write_bytes(FORMATS[form](results))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        if (folder / entry["path"]).is_file():
            content = (folder / entry["path"]).read_bytes()
            entry |= {"sha256": digest(content), "bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    (folder / SUMS).write_bytes(sums({name: c for name, c in files(folder).items() if name not in {SUMS, SIGNATURE}}))


def edit(folder, change, path="results.json"):
    """Change a JSON file of a run by a function, and do all hashes again."""
    document = json.loads((folder / path).read_bytes())
    change(document)
    forge(folder, path, json.dumps(document, indent=2, sort_keys=True) + "\n")


def edit_facts(folder, old, new):
    """Replace text in the stored facts, and do all hashes again; it must be there."""
    content = (folder / "evidence/facts.jsonl").read_text()
    assert old in content
    forge(folder, "evidence/facts.jsonl", content.replace(old, new))
