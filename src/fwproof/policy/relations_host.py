"""What the parts of a policy that are about tables and settings of a host must be to the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fwproof.errors import Fault
from fwproof.flow import Family
from fwproof.policy.document import Keys
from fwproof.policy.given import Given
from fwproof.policy.scalars import quoted
from fwproof.policy.table_model import HOST, Accepted


class HostRelations(Given):
    """Faults of what is expected of a host's tables, logs, sockets and settings."""

    def faults(self) -> Iterator[Fault]:
        """Yield the faults between parts that are there."""
        for some in (self._rules, self._coverage, self._kernel, self._baseline, self._parity):
            yield from some()

    def lacking(self) -> Iterator[Fault]:
        """Yield what asks for nothing, or has nothing to be compared with."""
        yield from self._drop_log()
        yield from self._listeners()

    def _drop_log(self) -> Iterator[Fault]:
        if self.policy.drop_log is None and self.document.existing(("drop_log",)):
            words = "'drop_log' asks for nothing; set 'inbound' or 'outbound' to true, or delete it"
            yield self.at(("drop_log",), words)
        paths = self.policy.drop_log.paths if self.policy.drop_log else None
        if paths is not None:
            yield from self._accepted(("drop_log", "paths"), paths.accepted, paths.fail)

    def _rules(self) -> Iterator[Fault]:
        rules = self.policy.rules
        if rules is not None:
            yield from self._accepted(("rules",), rules.accepted, rules.fail)

    def _accepted(self, section: Keys, accepted: Iterable[Accepted], fail: Collection[str]) -> Iterator[Fault]:
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(accepted):
            keys: Keys = (*section, "accept", index)
            if (one.rule, one.finding) in seen:
                yield self.at(keys, "the same finding about the same rule is accepted twice")
            elif one.finding and one.finding not in fail:
                yield self.at(keys, f"{quoted(one.finding)} is not among 'fail', so it need not be accepted")
            seen.add((one.rule, one.finding))

    def _coverage(self) -> Iterator[Fault]:
        seen: set[str] = set()
        for index, one in enumerate(self.policy.coverage.accepted if self.policy.coverage else ()):
            if one.rule in seen:
                yield self.at(("coverage", "accept", index), "the same rule is accepted twice")
            seen.add(one.rule)

    def _listeners(self) -> Iterator[Fault]:
        listeners = self.policy.listeners
        for index, one in enumerate(listeners.accepted if listeners else ()):
            keys: Keys = ("listeners", "accept", index)
            if not one.socket and not one.process:
                yield self.at(keys, "an accepted finding names a 'socket' such as udp/546, a 'process', or both")
            elif listeners is not None and one.finding and one.finding not in listeners.fail:
                yield self.at(keys, f"{quoted(one.finding)} is not among 'fail', so it need not be accepted")
        if listeners is not None and not self.document.existing(("inbound",)):
            words = "'listeners' compares sockets with what 'inbound' allows, and there is no 'inbound' here"
            yield self.on(listeners, words)

    def _kernel(self) -> Iterator[Fault]:
        kernel = self.policy.kernel
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(kernel.accepted if kernel else ()):
            keys: Keys = ("kernel", "accept", index)
            if (one.setting, one.interface) in seen:
                yield self.at(keys, "the same setting of the same interface is accepted twice")
            elif kernel is not None and one.setting not in kernel.wanted:
                yield self.at(keys, f"{quoted(one.setting)} is unchecked, so it need not be accepted")
            seen.add((one.setting, one.interface))

    def _baseline(self) -> Iterator[Fault]:
        baseline = self.policy.baseline
        if baseline is not None and HOST not in baseline.pattern and len(self.hosts) > 1:
            words = (
                f"the policy is about {len(self.hosts)} hosts, and a folder is one host's: put {{host}} into its name"
            )
            yield self.on(baseline, words)

    def _parity(self) -> Iterator[Fault]:
        written = self.document.plain().get("ipv6")
        if not isinstance(written, dict):
            return
        if written.get("expect") == "deny" and len(written) > 1:
            words = "'ipv6: deny' is shown by the defaults and has no check of its own; write it as one word"
            yield self.at(("ipv6",), words)
        both = any(host.address(Family.IPV4) and host.address(Family.IPV6) for host in self.hosts)
        if self.policy.parity is not None and not both:
            words = "no host of this policy has addresses of both families, so there is nothing to compare"
            yield self.on(self.policy.parity, words)
