"""How each host of an inventory is reached: by what it says itself, then Ansible, then ssh_config, then as usual."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fwproof.errors import Fault, InputError
from fwproof.inventory import Jump, SshAddress
from fwproof.policy.ansible import AnsibleHost
from fwproof.policy.inventory_shapes import HostShape, InventoryShape, SshShape
from fwproof.policy.ssh_config import Found, Hop, SshConfig, read_hop

DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts"
MOST_JUMPS = 8
"""Jump hosts on one way; ssh(1) would go round for ever where two name each other."""


class Ways:
    """The SSH settings of one inventory's hosts. ``path`` turns the text of a path into one."""

    def __init__(
        self, shape: InventoryShape, path: Callable[[str], Path], ansible: Mapping[str, AnsibleHost],
        config: SshConfig | None, fault: Callable[[str, str], Fault],
    ) -> None:  # fmt: skip
        self._shape, self._path, self._ansible, self._config, self._fault = shape, path, ansible, config, fault

    def of(self, name: str) -> SshAddress:
        """Return how a host is reached; raises InputError where jump hosts go in circles or ssh_config is refused."""
        return self._of(name, ())

    def _of(self, name: str, behind: tuple[str, ...]) -> SshAddress:
        host, theirs, found = self._sources(name)
        return self._behind(name, self._settings(host, theirs, found), self._jumps_of(host.ssh, theirs, found), behind)

    def _bare(self, name: str) -> SshAddress:
        return self._settings(*self._sources(name))

    def _sources(self, name: str) -> tuple[HostShape, AnsibleHost, Found]:
        host, theirs = self._shape.hosts[name], self._ansible.get(name) or AnsibleHost(name=name)
        asked = host.ssh.address or theirs.address or name
        return host, theirs, self._config.of(asked) if self._config else Found()

    def _settings(self, host: HostShape, theirs: AnsibleHost, found: Found) -> SshAddress:
        own, common = host.ssh, self._shape.defaults.ssh
        stated = own.identity_file or common.identity_file or theirs.identity_file
        files = (stated,) if stated else found.identity_files
        paths = [self._path(text) for text in files]
        if not stated and found.identity_files:
            # as ssh(1): of the files that a configuration names, those that are not there are passed over
            paths = [path for path in paths if path.is_file()] or paths[:1]
        known = own.known_hosts or common.known_hosts or found.known_hosts
        known = known or ("" if self._shape.lab else DEFAULT_KNOWN_HOSTS)
        return SshAddress(
            address=found.host_name or own.address or theirs.address or str(host.addresses[0]),
            port=own.port or common.port or theirs.port or found.port or 22,
            user=own.user or common.user or theirs.user or found.user or "auditor",
            identity_file=paths[0] if paths else None,
            other_identities=tuple(paths[1:]),
            use_agent=bool(paths) and not stated and not found.identities_only,
            known_hosts=self._path(known) if known else None,
            host_key_alias=own.host_key_alias or found.host_key_alias or None,
            timeout=own.timeout or common.timeout or found.timeout or 10.0,
        )

    def _jumps_of(self, own: SshShape, theirs: AnsibleHost, found: Found) -> tuple[Hop, ...]:
        for stated in (own.jump, self._shape.defaults.ssh.jump):
            if stated is not None:
                return () if stated == ["none"] else tuple(filter(None, map(read_hop, stated)))
        return theirs.jumps if theirs.jumps is not None else found.jumps or ()

    def _behind(self, name: str, ssh: SshAddress, hops: tuple[Hop, ...], behind: tuple[str, ...]) -> SshAddress:
        """Return the address with its jump hosts; those of the first one come before it, as with ssh(1)."""
        names = [hop.host for hop in hops]
        if name in names:  # what holds for all hosts holds for a jump host as well: it is behind those before it
            hops = hops[: names.index(name)]
        if not hops:
            return ssh
        if name in behind or len(behind) >= MOST_JUMPS:
            raise InputError([self._fault(name, f"its jump hosts go in circles: {' via '.join((*behind, name))}")])
        jumps: list[Jump] = []
        for number, hop in enumerate(hops):
            address = self._hop(hop, (*behind, name), first=number == 0)
            jumps += (*address.jumps, Jump(name=hop.host, ssh=replace(address, jumps=())))
        return replace(ssh, jumps=tuple(jumps))

    def _hop(self, hop: Hop, behind: tuple[str, ...], *, first: bool) -> SshAddress:
        """Return how a jump host is reached: as the inventory has it, else by ssh_config and what holds for all."""
        if hop.host in self._shape.hosts:
            address = self._of(hop.host, behind) if first else self._bare(hop.host)
        else:
            found = self._config.of(hop.host) if self._config else Found()
            shape = HostShape.model_construct(addresses=[], ssh=SshShape(address=hop.host))
            address = self._settings(shape, AnsibleHost(name=hop.host), found)
            if first:
                address = self._behind(hop.host, address, found.jumps or (), behind)
        return replace(address, user=hop.user or address.user, port=hop.port or address.port)
