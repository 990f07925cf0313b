"""Every statement about the kernel's corners: what the model says of it, and what the kernel does.

The cases are data, see corners.py. ``FWPROOF_GOLDEN=write`` writes anew how nft lists their native tables.
"""

import json
import os
import re
import time
from dataclasses import replace

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family
from fwproof.ruleset.iptables import parse

from . import corners
from . import kernel as k

NAMES = corners.names()
WATCH = """
table netdev watch {
  chain first { type filter hook ingress device "eth0" priority -2000; counter name arrived; }
  counter arrived { }
}
table inet watch {
  counter input { }
  counter forward { }
  counter output { }
  chain input { type filter hook input priority 2000; OURS iifname != "lo" counter name input; LAST }
  chain away {
    type filter hook postrouting priority 2000
    OURS oifname "eth1" counter name forward
    OURS oifname "eth0" counter name output
  }
}
"""
"""Counters before and after all rules; none of them needs conntrack."""
SAVES = {"iptables-nft": "ip", "iptables-legacy": "ip", "ip6tables-nft": "ip6", "ip6tables-legacy": "ip6"}


@pytest.mark.parametrize("name", NAMES)
def test_the_model_says_what_is_golden(name):
    case = corners.case(name)
    wrong = corners.differences(case, corners.texts(case), corners.facts(case.given))
    assert not wrong, f"{case.says}\n" + "\n".join(wrong)


@pytest.mark.lab
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_does_what_is_golden(name, tmp_path):
    reason = k.available()
    assert not reason, reason
    case = corners.case(name)
    kernel = k.Kernel(tmp_path / "lock", keep="")
    try:
        prepare(kernel, case)
        if case.given.get("refused"):
            assert case.given["refused"] in refusal(kernel, case)
            return
        missing = refusal(kernel, case)
        if missing and "lacks" in case.given:
            pytest.skip(f"this kernel has no {case.given['lacks']}: {missing}")
        assert not missing, missing
        listed = read_back(kernel, case)
        wrong = seen_otherwise(kernel, case)
        wrong += [f"as listed: {each}" for each in corners.differences(case, listed, known(kernel, case))]
        assert not wrong, f"{case.says}\n" + "\n".join(wrong) + "\n" + "\n".join(listed.values())
    finally:
        kernel.close()


def otherwise(case):
    """Return a case with another golden answer for each packet."""
    other = {Decision.ACCEPT: Decision.DROP, Decision.DROP: Decision.ACCEPT, Decision.REJECT: Decision.ACCEPT}
    turned = []
    for sent in case.packets:
        decision = other.get(sent.decision, Decision.ACCEPT)
        given = {key: value for key, value in sent.given.items() if key not in {"kernel", "over_all"}}
        turned.append(replace(sent, decision=decision, may=frozenset({decision}), given=given))
    return replace(case, packets=tuple(turned))


@pytest.mark.parametrize("name", NAMES)
def test_another_answer_than_the_golden_one_is_noticed(name):
    case = otherwise(corners.case(name))
    wrong = corners.differences(case, corners.texts(case), corners.facts(case.given))
    asked = [each for each in case.packets if "extension" not in each.given or each.given.get("whole", True)]
    assert {each.id for each in asked} <= {text.split(":")[0].removesuffix(", over all packets") for text in wrong}


@pytest.mark.lab
@pytest.mark.parametrize("name", ["dnat-passes-forward-nft", "reject-with-legacy", "chains-native"])
def test_the_kernel_is_seen_to_do_something_else(name, tmp_path):
    case = otherwise(corners.case(name))
    kernel = k.Kernel(tmp_path / "lock", keep="")
    try:
        prepare(kernel, case)
        assert not refusal(kernel, case)
        found = seen_otherwise(kernel, case)
    finally:
        kernel.close()
    assert {sent.id for sent in case.packets} <= {text.split(":")[0] for text in found}


def seen_otherwise(kernel, case):
    """Return where the kernel does something else than the golden answer with a case's packets, in words."""
    asked = [sent for sent in case.packets if "model_only" not in sent.given]
    return [each for sent in asked for each in sent_through(kernel, case, sent)]


def prepare(kernel, case):
    kernel.heard("outer", "far")
    settings = {"net.ipv6.icmp.ratelimit": 0, "net.ipv4.icmp_msgs_per_sec": 9999} | case.given.get("sysctls", {})
    for command in case.given.get("setup", ()):
        kernel.run(*command.split())
    for each, value in settings.items():
        kernel.run("sysctl", "-qw", f"{each}={value}")
    if case.six:
        time.sleep(0.5)  # the kernel's own multicast reports of the new interfaces have to be over


def refusal(kernel, case):
    """Load a case's tables; return what a program said that refused one, empty where none did."""
    for tool, text in case.load:
        argv = {"nft": ["nft", "-f", "-"], "ipset": ["ipset", "restore"]}.get(tool, [f"{tool}-restore"])
        answer = kernel._ask({"argv": argv, "stdin": text})
        if answer["status"]:
            return answer["err"].strip() or "no reason"
    watch = WATCH.replace("LAST", "" if case.given.get("deliver") else "drop;")
    # the kernel reports its multicast groups by IPv6 whenever it likes
    kernel.run("nft", "-f", "-", stdin=watch.replace("OURS", "" if case.six else "meta nfproto ipv4"))
    return ""


def read_back(kernel, case):
    """Return the tables as the programs list them, by the model's names; compare nft's list with the golden one."""
    found = {}
    for tool, _ in case.load:
        if tool == "nft":
            found["nft_json"] = listing(kernel, case)
        else:
            argv = ["ipset", "save"] if tool == "ipset" else [f"{tool}-save"]
            answer = kernel._ask({"argv": argv, "stdin": ""})
            assert not answer["status"], answer["err"]
            # the warning of legacy tables is an error message
            found[corners.KEYS[tool]] = answer["out"] + answer["err"]
    if case.given.get("listed"):
        found["nft_json"] = listing(kernel, case)
    path = corners.LISTED / f"{case.given['name']}.json"
    if "nft_json" in found:
        if os.environ.get("FWPROOF_GOLDEN") == "write":
            path.write_text(found["nft_json"], encoding="utf-8")
        assert bare(found["nft_json"]) == bare(path.read_text(encoding="utf-8"))
    return {key: text for key, text in found.items() if key not in case.given.get("hidden", ())}


def listing(kernel, case):
    """Return nft's list of a case's own tables, one object a line."""
    entries = json.loads(kernel.run("nft", "-j", "list", "ruleset"))["nftables"]
    kept = [json.dumps(e) for e in entries if "metainfo" not in e and "watch" not in _table(e)]
    return '{"nftables": [\n' + ",\n".join(kept) + "\n]}\n"


def _table(entry):
    ((kind, body),) = entry.items()
    return body["name"] if kind == "table" else body["table"]


def bare(text):
    """Return a list without the numbers that differ from one time to the next."""
    return re.sub(r'"handle": \d+|"expires": \d+', "", text)


def known(kernel, case):
    return {
        "addresses": kernel.run("ip", "-j", "addr"), "routes": kernel.run("ip", "-j", "-4", "route"),
        "routes6": kernel.run("ip", "-j", "-6", "route"), "routing_rules": kernel.run("ip", "-j", "-4", "rule"),
        "sysctls": kernel.run("sysctl", *corners.SYSCTLS, *case.given.get("sysctls", {})),
    }  # fmt: skip


def counters(kernel, case):
    """Return the packets of every rule that counts, by the names of the cases."""
    found = {}
    several = len({tool.partition("-")[2] for tool, _ in case.load if tool in SAVES}) > 1
    for tool, _ in case.load:
        if tool not in SAVES:
            continue
        family = Family.IPV4 if SAVES[tool] == "ip" else Family.IPV6
        for rule in parse(kernel.run(f"{tool}-save", "-c"), family).rules():
            name = ("legacy " if several and tool.endswith("legacy") else "") + corners.place(rule.ref)
            found[name] = rule.counters.packets
    if any(tool == "nft" for tool, _ in case.load):
        numbers = {}
        for entry in json.loads(kernel.run("nft", "-j", "list", "ruleset"))["nftables"]:
            if "rule" in entry and entry["rule"]["table"] != "watch":
                rule = entry["rule"]
                chain = f"{rule['family']} {rule['table']} {rule['chain']}"
                numbers[chain] = numbers.get(chain, 0) + 1
                for count in (each["counter"] for each in rule["expr"] if isinstance(each.get("counter"), dict)):
                    found[f"{chain} {numbers[chain]}"] = count["packets"]
    return found


def watched(kernel):
    listed = json.loads(kernel.run("nft", "-j", "list", "counters"))["nftables"]
    found = [entry["counter"] for entry in listed if "counter" in entry]
    return {each["name"]: each["packets"] for each in found if each["table"] == "watch"}


def sent_through(kernel, case, sent):
    """Send a packet, unless the kernel makes it by itself; return where its fate is not the golden one, in words."""
    if sent.given.get("made"):
        before, gates = kernel.before
    else:
        kernel.heard("outer", "far")
        kernel.before = before, gates = counters(kernel, case), watched(kernel)
        send(kernel, sent, gates)
    after, now = counters(kernel, case), watched(kernel)
    expected = sent.hits
    if not sent.given.get("made"):
        # what the kernel sends because of this packet is the next one of the case
        following = [each for each in case.packets[case.packets.index(sent) + 1 :][:1] if each.given.get("made")]
        expected = expected | frozenset().union(*(each.hits for each in following))
        frames = kernel.heard("outer", "far")
        yield from _at_the_ends(sent, frames)
        passed = now[sent.way] - gates[sent.way]
        if passed != (sent.done is Decision.ACCEPT) and sent.flow.iif in {None, "eth0"}:
            yield f"{sent.id}: {sent.way} lets {passed} through, and it should be {sent.done}"
        hits = {name for name, value in after.items() if value > before[name]}
        if hits != expected:
            yield f"{sent.id}: in the kernel {sorted(hits)} count it, not {sorted(expected)}"


def send(kernel, sent, gates):
    flow = sent.flow
    packet = corners.with_extension(corners.data(flow), sent.given.get("extension"))
    packets = [packet] if "pieces" not in sent.given else [corners.pieces(packet)[n - 1] for n in sent.given["pieces"]]
    if flow.iif is None:
        kernel.send([("ip4" if flow.dst.version == 4 else "ip6", each.hex(), str(flow.dst)) for each in packets])
    else:
        head = k.frame(flow)[:14]
        by = sent.given.get("arrives", "outer")
        kernel.send([(f"frame {by}", (head + each).hex(), "") for each in packets])
    arriving = gates["arrived"] + len(packets) * (flow.iif == "eth0")
    for _ in range(100):
        if watched(kernel)["arrived"] >= arriving:
            break
        time.sleep(0.01)
    assert watched(kernel)["arrived"] == arriving
    time.sleep(0.01)


def _at_the_ends(sent, frames):
    """Yield where the answer to a packet, or the packet as it left, is not the golden one."""
    answers = {_answer(frame) for name, frame in frames if name == "outer"} - {""}
    golden = {sent.given["answer"]} if "answer" in sent.given else set()
    if sent.done is Decision.REJECT and not answers:
        yield f"{sent.id}: nobody is told that it was rejected"
    if (golden or sent.done is Decision.DROP) and answers != golden:
        yield f"{sent.id}: answered with {answers}, not {golden}"
    away = {end for _, frame in frames if (end := _destination(frame))}
    if "away" in sent.given and sent.given["away"] not in away:
        yield f"{sent.id}: it left to {away}, not {sent.given['away']}"


def _answer(frame):
    """Return what kind of refusal a frame is, empty where it is none."""
    kind, head = frame[12:14], frame[14:]
    proto, size = (head[9], 20) if kind == b"\x08\x00" else (head[6], 40)
    if proto == 6 and head[size + 13] & 4:
        return "rst"
    errors = {1: {3, 11}, 58: {1, 3}}.get(proto, set())
    return f"icmp {head[size]}/{head[size + 1]}" if head[size] in errors else ""


def _destination(frame):
    kind, head = frame[12:14], frame[14:]
    if kind != b"\x08\x00":
        return ""
    address = ".".join(map(str, head[16:20]))
    return f"{address}:{int.from_bytes(head[22:24], 'big')}" if head[9] in {6, 17} else address
