"""Runs in the network of the lab's admin host: looks at hosts as told, one JSON request and answer a line.

Not a test; test_hosts.py starts it, because a process that has joined a lab's network cannot leave it again.
"""

import json
import sys
import time
from pathlib import Path

from fwproof.errors import HostError
from fwproof.hosts.access import Command
from fwproof.hosts.collect import collect, on_all
from fwproof.hosts.ssh import SshTransport
from fwproof.hosts.testinfra_backend import host as testinfra_host
from fwproof.inventory import Access, AgentPin, Host, SshAddress
from fwproof.probing.start import start_agent


def transport_of(spec):
    ssh = {"timeout": 5.0, **spec["ssh"]}
    paths = {key: Path(ssh[key]) for key in ("identity_file", "known_hosts") if key in ssh}
    agent = AgentPin(**spec["agent"]) if "agent" in spec else None
    return SshTransport(
        Host(
            name=spec["name"],
            addresses=(),
            ssh=SshAddress(**{**ssh, **paths}),
            access=Access(spec.get("access", "read")),
            agent=agent,
            drop_log=spec.get("drop_log"),
        )
    )


def seen(answer):
    if isinstance(answer, HostError):
        return {"error": type(answer).__name__, "text": str(answer), "advice": answer.advice}
    return {"status": answer.status, "stdout": answer.stdout[:20000], "stderr": answer.stderr}


def run(transport, spec):
    more = {"stdin": b"x" * spec["stdin"]} if "stdin" in spec else {}
    return seen(transport.run(spec["argv"], timeout=spec.get("timeout", 10.0), **more))


def many(transport, spec):
    commands = [Command(name=str(n), words=tuple(words)) for n, words in enumerate(spec["argvs"])]
    return {name: seen(answer) for name, answer in transport.run_many(commands, timeout=spec["timeout"]).items()}


def snapshot(transport, spec):
    return described(collect(transport, spec.get("jails", ())))


def described(taken):
    if isinstance(taken, HostError):
        return seen(taken)
    faults = {name: seen(fault) for name, fault in taken.faults.items()}
    return {"captures": {name: seen(c) for name, c in taken.captures.items()}, "faults": faults}


def crowd(transport, spec):
    numbers = [str(n) for n in range(spec["count"])]
    answers = on_all(lambda n: transport.run(("/bin/echo", n)).stdout, numbers)
    wrong = sorted({str(answers[n]) for n in numbers if answers[n] != f"{n}\n"})
    return {"right": len(numbers) - sum(answers[n] != f"{n}\n" for n in numbers), "wrong": wrong}


def stream(transport, spec):
    channel = transport.open_channel(spec["argv"])
    lines = []
    try:
        for text in spec["send"]:
            channel.send(text.encode())
            lines.append(channel.readline(spec.get("timeout", 5.0)).decode())
    finally:
        channel.close()
    return {"lines": lines, "stderr": channel.stderr}


def testinfra(transport, spec):
    host = testinfra_host(transport)
    echoed = host.run("printf %s; echo oops >&2; exit 3", "it's $HOME")
    return {
        "release": host.file("/etc/os-release").contains("Debian"),
        "ssh": host.socket("tcp://0.0.0.0:22").is_listening,
        "user": host.user().name,
        "printed": [echoed.rc, echoed.stdout, echoed.stderr],
        "table": host.run("sudo -n /usr/sbin/iptables-save -c").rc,
        "bytes": host.run("printf '\\377'").stdout_bytes.hex(),
    }


def agent(transport, spec):
    started = start_agent(transport)
    started.close()
    return {"started": started is not None}


def again(transport, spec):
    times = []
    for _ in range(3):
        begun = time.monotonic()
        try:
            transport.connect()
        except HostError as error:
            times.append([type(error).__name__, time.monotonic() - begun])
    return {"times": times}


def everyone(transports, spec):
    jails = spec.get("jails", {})
    found = on_all(lambda name: collect(transports[name], jails.get(name, ())), transports)
    return {name: described(taken) for name, taken in found.items()}


def answer(spec):
    begun = time.monotonic()
    transports = {one["name"]: transport_of(one) for one in spec["hosts"]}
    try:
        do = globals()[spec["do"]]
        found = do(transports if spec["do"] == "everyone" else next(iter(transports.values())), spec)
    except HostError as error:
        found = seen(error)
    for transport in transports.values():
        transport.close()
    return {**found, "seconds": time.monotonic() - begun}


for line in sys.stdin:
    sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
    sys.stdout.flush()
