"""Attribution by trace: the rules that probes meet, as the audited host's own kernel tells them.

Off unless asked for. The trigger is a table of the agent's that takes marked packets only and vanishes with the agent;
see the agent's docstring for what it may do, and under whose permission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.facts import FlowFacts
from fwproof.observation import Handles, Observation
from fwproof.semantics.model import HostModel
from fwproof.semantics.traced import Names, compared, rules_met

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober


Meets = Callable[[Sequence[Observation]], Mapping[str, frozenset[RuleRef]]]
"""Says which rules probes met by the kernel's own trace, by their refs; those that were not traced are left out."""


def untraced(_seen: Sequence[Observation]) -> Mapping[str, frozenset[RuleRef]]:
    """Ask no trace."""
    return {}


@dataclass
class Tracing:
    """What is needed to name the rules that traced hosts tell of: the names by host; no host is traced without."""

    names: dict[str, Names] = field(default_factory=dict)
    handles: dict[str, Handles] = field(default_factory=dict)

    def of(self, host: str, known: FlowFacts) -> FlowFacts:
        """Return what is known of a probe with the rules that it met on an audited host, where that was traced."""
        seen = known.observation
        if host not in self.names or not isinstance(seen, Observation):
            return known
        path = rules_met(self.names[host], host, seen)
        return replace(known, traced=compared(path, known.ruling, known.fresh))

    def meets(self, host: str, model: HostModel) -> Meets:
        """Return what tells which rules of a model's tables each probe met; nothing where that cannot be told."""
        if host not in self.handles:
            return untraced
        names = Names(model, self.handles[host])

        def met(seen: Sequence[Observation]) -> dict[str, frozenset[RuleRef]]:
            paths = {one.probe.ref: rules_met(names, host, one) for one in seen}
            return {ref: frozenset(step.rule for step in path.met) for ref, path in paths.items()
                    if path.begun and path.whole and not path.unnamed}  # fmt: skip

        return met


@contextmanager
def tracing(
    field_: Field, prober: Prober, models: dict[str, HostModel], progress: Callable[[str], None]
) -> Iterator[Tracing]:
    """Trace what is sent meanwhile on hosts, by their models; a host that cannot be traced is noted in the field."""
    hosts = [name for name in models if name in field_.traceable]
    with prober.tracing(hosts) as found:
        names = {host: Names(models[host], handles) for host, handles in found.items()
                 if not isinstance(handles, HostError)}  # fmt: skip
        field_.untraced |= {host: error for host, error in found.items() if isinstance(error, HostError)}
        if names:
            progress(f"tracing the rules that probes meet on {', '.join(names)}")
        for error in field_.untraced.values():
            progress(f"not traced: {error}")
        yield Tracing(names, {host: each for host, each in found.items() if not isinstance(each, HostError)})
