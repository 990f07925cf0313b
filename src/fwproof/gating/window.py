"""What is open while a script runs, and neither before nor after it: packets that only a state in between lets in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fwproof.flow import Family, Hook
from fwproof.gating.guard import Found, Harm
from fwproof.gating.states import State
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.bdd import Set, guarded
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS, Engine
from fwproof.semantics.reach_text import rooms
from fwproof.semantics.witness import dressed, pick

MOST = 400
"""States that are looked at over all packets."""
SECONDS = 20.0


@dataclass(slots=True)
class Window:
    """What was found, and why not everything was looked at, empty where it was."""

    found: tuple[Found, ...] = ()
    gap: str = ""


def opened(states: Sequence[State], family: Family) -> Window:
    """Return what a script of iptables commands lets in, out or through for a while; of new connections only.

    Raises SpaceTooLarge.
    """
    distinct = [s for n, s in enumerate(states) if n == 0 or s.model.rulesets != states[n - 1].model.rulesets]
    distinct = [s for s in distinct if s.command is None or s.command.family in {family, None}]
    if len(distinct) < 3:
        return Window()
    if len(distinct) > MOST and not guarded(lambda: _all_open((distinct[0], distinct[-1]), family)):
        return Window(gap=f"{family}: what is open in between was not looked at: more than {MOST} states")
    if len(distinct) > MOST:
        return Window()
    return guarded(lambda: _opened(distinct, family))


def _all_open(states: Sequence[State], family: Family) -> bool:
    """Whether before or after everything is let through that a host without rules lets through: then no state adds."""
    models = [state.model for state in states]
    bare = replace(models[0], rulesets={family: (Ruleset(family=family, source="", tables={}),)})
    engine, config = Engine([*models, bare], family), Config()
    return all(
        _accepted(engine, 0, hook, config) | _accepted(engine, 1, hook, config) == _accepted(engine, 2, hook, config)
        for hook in PATHS
    )


def _opened(states: Sequence[State], family: Family) -> Window:
    begun, found = time.monotonic(), list[Found]()
    engine = Engine([state.model for state in states], family)
    config = Config()
    for hook in PATHS:
        if hook is Hook.FORWARD and not _forwards(states, family):
            continue
        outer = _accepted(engine, 0, hook, config) | _accepted(engine, len(states) - 1, hook, config)
        open_since: State | None = None
        shown = engine.sets.none
        for number, state in enumerate(states[1:-1], 1):
            if time.monotonic() - begun > SECONDS:
                return Window(tuple(found), f"{family}: what is open in between was looked at for {SECONDS:.0f} s only")
            extra = _accepted(engine, number, hook, config) & ~outer
            if extra != engine.sets.none and open_since is None:
                open_since, shown = state, extra
            elif extra == engine.sets.none and open_since is not None:
                found.append(_window(engine, family, hook, shown, (open_since, state)))
                open_since = None
        if open_since is not None:
            found.append(_window(engine, family, hook, shown, (open_since, states[-1])))
    return Window(tuple(found))


def _forwards(states: Sequence[State], family: Family) -> bool:
    return states[0].model.forwards(family) is not False


def _accepted(engine: Engine, number: int, hook: Hook, config: Config) -> Set:
    host = engine.hosts[number]
    return engine.sets.may(host.asked(hook).flow({config: host.packets()})[1].accepted)


def _window(engine: Engine, family: Family, hook: Hook, some: Set, ends: tuple[State, State]) -> Found:
    flow = dressed(pick(engine.sets, some, engine.hosts[0].router, hook), Config(), hook)
    listed, more, _ = rooms(engine.sets, some, family, hook)
    what = "; ".join(map(str, _first(listed))) + ("; and more" if more or len(listed) > 2 else "")
    text = f"{family} {hook.value}: {what} is let through, by neither the tables before nor those after"
    return Found(
        harm=Harm.OPEN, way="", text=text, first=ends[0].command, until=ends[1].command, witness=flow,
    )  # fmt: skip


def _first(listed: Sequence[object]) -> Iterator[object]:
    yield from listed[:2]
