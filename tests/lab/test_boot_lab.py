"""What boots, said by an audit and shown by real reboots of the hosts of fixtures/lab/boot.yaml, under packets."""

import os
import subprocess
import sys
import threading

import pytest

from .auditing import ROOT, on, scenario

pytestmark = pytest.mark.lab
FOLDER = ROOT / "fixtures" / "boot"
HOSTS = {"nft": "10.0.0.20", "late": "10.0.0.21", "custom": "10.0.0.22", "ufw": "10.0.0.23"}
KNOCK = """
import select, socket, sys, time
address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end, waiting, opened = time.monotonic() + seconds, [], 0
while time.monotonic() < end:
    knock = socket.socket()
    knock.setblocking(False)
    knock.connect_ex((address, port))
    waiting.append(knock)
    time.sleep(0.002)
    for one in select.select([], waiting, [], 0)[1]:
        opened += one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        waiting.remove(one)
        one.close()
    while len(waiting) > 200:
        waiting.pop(0).close()
print(opened)
"""
lab, audit, first = scenario("boots", "boot.yaml", FOLDER)


def knocks(lab, source, host, port, seconds=0.6):
    """Return how many connections to a port were opened within some seconds."""
    done = lab.run(source, ["/usr/bin/python3", "-c", KNOCK, HOSTS[host], str(port), str(seconds)])
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def knocks_during_boot(lab, host, port, *sources):
    """Reboot a host while sources knock at a port all the time; return what each of them opened."""
    found = {}

    def knock(source):
        found[source] = knocks(lab, source, host, port, 3.0)

    threads = [threading.Thread(target=knock, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    lab.reboot(host)
    for thread in threads:
        thread.join()
    return [found[source] for source in sources]


# ---- as the lab starts them


@pytest.mark.parametrize("host", HOSTS)
def test_every_kind_of_loader_is_compared_by_meaning(first, host):
    checks = first.of(host, "persistence")
    assert [check["verdict"] for check in checks] == ["pass", "pass"], first.out
    assert all("it means the same as what runs" in check["reason"] for check in checks)


def test_a_unit_of_the_administrator_s_own_is_named(first):
    assert first.checks["persistence[custom-ipv4]"]["reason"].startswith("firewall loads /etc/iptables.rules")
    assert "enabled at boot: firewall" in first.checks["persistence:boot[custom]"]["observed"]


@pytest.mark.parametrize(("host", "verdict"), [("nft", "pass"), ("ufw", "pass"), ("late", "fail"), ("custom", "fail")])
def test_the_order_of_the_boot_is_what_packets_find(first, lab, host, verdict):
    """A stranger may not come in: where the report says that there is a window, he does, and nowhere else."""
    check = first.checks[f"persistence:boot[{host}]"]
    assert check["verdict"] == verdict
    assert ("tcp/8080 (python3)" in check["reason"]) is (verdict == "fail")
    admin, stranger = knocks_during_boot(lab, host, 8080, "admin", "stranger")
    assert admin > 0  # the loop was awake when the host came back
    assert (stranger > 0) is (verdict == "fail")
    assert knocks(lab, "stranger", host, 8080) == 0


def test_a_unit_is_mended_as_the_finding_says(first, audit, lab):
    fix = first.checks["persistence:boot[late]"]["fix"]
    assert "Before=network-pre.target" in fix
    unit = "/etc/systemd/system/nftables.service"
    lines = "DefaultDependencies=no\\nBefore=network-pre.target\\nWants=network-pre.target"
    on(lab, "late", f"sed -i -e '/network-online/d' -e 's/^\\[Unit\\]/&\\n{lines}/' {unit}")
    assert audit("-k", "boot and late").checks["persistence:boot[late]"]["verdict"] == "pass"
    assert knocks_during_boot(lab, "late", 8080, "stranger") == [0]


# ---- what is saved is not what runs, and the other way round; the reboot shows who was right


def test_what_runs_and_is_not_saved_is_gone_after_the_boot(audit, lab):
    on(lab, "nft", "nft insert rule inet filter input tcp dport 8080 accept")
    on(lab, "nft", "nft add element inet filter seen '{ 10.0.0.99 }'")  # what comes and goes does not count
    assert knocks(lab, "stranger", "nft", 8080) > 0
    check = audit("-k", "nft-ipv4").checks["persistence[nft-ipv4]"]
    assert check["verdict"] == "fail"
    assert "would not be reachable any more after a boot at input" in check["reason"]
    assert "tcp 8080 from" in check["reason"]
    lab.reboot("nft")
    assert knocks(lab, "stranger", "nft", 8080) == 0


def test_what_is_saved_and_does_not_run_is_there_after_the_boot(audit, lab):
    line = "-A ufw-before-input -p tcp --dport 11434 -j ACCEPT"
    on(lab, "ufw", f"sed -i '/^# allow dhcp/i {line}' /etc/ufw/before.rules")
    on(lab, "custom", "sed -i s/8080,11434/8080/ /etc/iptables.rules")
    on(lab, "late", "echo 'add element inet filter open { 22 }' > /etc/nftables.d/more.nft")
    run = audit("-k", "persistence and ipv4 and (ufw or custom or late)")
    ufw, custom, late = (run.checks[f"persistence[{host}-ipv4]"] for host in ("ufw", "custom", "late"))
    assert {ufw["verdict"], custom["verdict"], late["verdict"]} == {"fail"}
    assert "would be reachable after a boot at input (NEW/UNTRACKED): tcp 11434 from anywhere" in ufw["reason"]
    assert "would not be reachable any more after a boot" in custom["reason"]
    assert "would be reachable after a boot at input" in late["reason"]
    assert "tcp 22 from" in late["reason"]
    for host in ("ufw", "custom", "late"):
        lab.reboot(host)
    assert knocks(lab, "stranger", "ufw", 11434) > 0
    assert knocks(lab, "admin", "custom", 11434) == 0
    assert knocks(lab, "stranger", "late", 22) == 0  # only inside is let in


def test_a_file_that_nft_does_not_load_leaves_nothing(audit, lab):
    on(lab, "nft", "echo 'table inet x { chain' > /etc/nftables.d/broken.nft")
    check = audit("-k", "nft-ipv4").checks["persistence[nft-ipv4]"]
    assert (check["verdict"], check["cause"]) == ("fail", "nothing survives a reboot")
    assert "nft does not load /etc/nftables.conf: syntax error" in check["reason"]
    lab.reboot("nft")
    assert knocks(lab, "stranger", "nft", 8080) > 0
    on(lab, "nft", "echo 'add rule inet filter input iif eth9 accept' > /etc/nftables.d/broken.nft")
    check = audit("-k", "nft-ipv4").checks["persistence[nft-ipv4]"]
    assert check["verdict"] == "inconclusive"
    assert "where there is no interface yet" in check["reason"]


def test_loaders_that_overwrite_one_another_and_a_script_that_may_not_be_read(audit, lab):
    wants = "/etc/systemd/system/multi-user.target.wants"
    on(lab, "ufw", f"ln -s /lib/systemd/system/nftables.service {wants}; sed -i '1a flush ruleset' /etc/nftables.conf")
    on(lab, "custom", "chmod 700 /usr/local/sbin/firewall")
    run = audit("-k", "custom or (boot and ufw)")
    check = run.checks["persistence:boot[ufw]"]
    assert (check["verdict"], check["cause"]) == ("fail", "loaders overwrite one another")
    assert "nftables flushes the whole ruleset" in check["reason"]
    assert "and with it what ufw loaded" in check["reason"]
    assert {check["verdict"] for check in run.of("custom")} == {"inconclusive"}
    reason = run.checks["persistence:boot[custom]"]["reason"]
    assert "/usr/local/sbin/firewall is run at boot and cannot be read" in reason


# ---- what changed since a baseline, and who answers for it


def fwproof(lab, *words):
    words = [sys.executable, "-m", "fwproof", *words, "--inventory", str(FOLDER / "inventory.yaml")]
    env = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
    return subprocess.run(words, cwd=ROOT, text=True, capture_output=True, check=False, env=env, timeout=120)


def test_accepted_drift_passes_with_its_owner_until_there_is_more(audit, lab, tmp_path):
    done = fwproof(lab, "collect", "late", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    policy = tmp_path / "drift.policy.yaml"
    policy.write_text("policy: drift\nhosts: [late]\nbaseline: '{host}'\n", encoding="utf-8")

    def drift():
        run = audit(policy=policy)
        assert run.checks["drift[late-ipv6]"]["verdict"] == "pass", run.out
        return run.checks["drift[late-ipv4]"]

    on(lab, "late", "nft insert rule inet filter input ip saddr 10.0.0.66 tcp dport 8080 accept")
    assert knocks(lab, "stranger", "late", 8080) > 0
    draft = fwproof(lab, "diff", str(tmp_path / "late"), "host:late", "--accept-draft", "--family", "ipv4")
    assert draft.returncode == 1, draft.stderr
    signed = draft.stdout.replace('owner: ""', "owner: Ada").replace('reason: ""', "reason: a guest")
    (tmp_path / "late" / "accepted.yaml").write_text(signed, encoding="utf-8")
    found = drift()
    assert found["verdict"] == "pass"
    assert "only what was accepted has changed: accepted (Ada, 20" in found["reason"]
    assert "became reachable at input" in found["reason"]
    assert "only now: ip saddr 10.0.0.66 tcp dport 8080 accept" in "\n".join(found["evidence"])

    on(lab, "late", "nft insert rule inet filter input ip saddr 10.0.0.66 tcp dport 11434 accept")
    found = drift()
    assert found["verdict"] == "fail"
    assert "tcp 11434 from 10.0.0.66" in found["reason"]
    lab.reboot("late")
    found = drift()
    assert found["verdict"] == "pass"
    assert "stale, no change is left that it accepts" in found["reason"]
