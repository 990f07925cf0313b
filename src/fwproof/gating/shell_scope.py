"""What a shell knows while it runs: variables, arguments, options, functions, and who has called."""

from __future__ import annotations

from dataclasses import dataclass, field

from fwproof.gating.shell_sums import Unknown
from fwproof.gating.shell_tree import Node

_MACHINE = frozenset({
    "IFS", "UID", "EUID", "GID", "EGID", "PPID", "RANDOM", "SRANDOM", "SECONDS", "EPOCHSECONDS", "LINENO", "OPTIND",
    "OPTARG", "HOSTNAME", "HOSTTYPE", "MACHTYPE", "OSTYPE", "GROUPS", "DIRSTACK", "FUNCNAME", "SHELLOPTS", "BASHOPTS",
    "BASHPID", "PIPESTATUS", "SHLVL", "SHELL", "PWD", "OLDPWD", "HOME", "USER", "LOGNAME", "TERM", "PATH", "PS1", "PS2",
    "PS4", "_", "ENV", "BASH", "BASH_ENV", "BASH_VERSION", "BASH_SOURCE", "POSIXLY_CORRECT", "COLUMNS", "LINES",
})  # fmt: skip
"""Variables that a shell or the machine sets."""
_GIVEN = frozenset({"PATH", "HOME", "TERM", "SHELL", "USER", "HOSTNAME"})
"""Those among them that a script may set as any other."""


@dataclass(frozen=True, slots=True)
class Odd:
    """In place of a value: why there is none that holds, empty where that was told."""

    why: str


@dataclass(slots=True)
class Scope:
    """Variables by name, with None where one is known to have no value; ``parameters`` None where nobody knows them."""

    variables: dict[str, str | Odd | None] = field(default_factory=dict)
    parameters: tuple[str, ...] | None = None
    functions: dict[str, Node] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    status: int | None = 0
    exits: bool = False
    strict: bool = False
    lost: bool = False
    """Whether something before could not be told, so that a variable may have been set there."""
    assumed: dict[str, None] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    locals: list[dict[str, str | Odd | None]] = field(default_factory=list)
    """What the variables of each function that runs were before it; those that were not there are left out."""

    def value(self, name: str) -> str | None:
        """Return a value, None where there is none; that nothing outside sets it is taken for granted, and told."""
        if name.isdigit() or name in {"#", "?", "$", "!", "-"}:
            return self._special(name)
        if name not in self.variables:
            if name in _MACHINE:
                raise Unknown(f"what {name} is depends on the machine: assign it above, NAME=value")
            if self.lost:
                raise Unknown("")
            self.assumed[f"nothing outside the script sets {name}"] = None
        found = self.variables.get(name)
        if isinstance(found, Odd):
            raise Unknown(found.why)
        return found

    def need(self, name: str) -> str:
        """Return a value that has to be known; one that was taken away is empty."""
        if name in self.variables or not (name[0].isalpha() or name[0] == "_"):
            found = self.value(name)
            if found is None and self.strict:
                raise Unknown(f"the variable {name} has no value, and with set -u the script ends here")
            return found or ""
        if self.lost:
            raise Unknown("")
        raise Unknown(f"the variable {name} has no value: assign it above, {name}=value, or write ${{{name}:-}} where"
                      " it may have none")  # fmt: skip

    def _special(self, name: str) -> str | None:
        if name == "?":
            if self.status is None:
                raise Unknown("$? depends on whether the command before it works: a gate stops where one does not")
            return str(self.status)
        if name == "0" or not (name.isdigit() or name == "#"):
            raise Unknown(f"what ${name} is depends on how the script is run")
        if self.parameters is None:
            raise Unknown("the arguments of the script are not known: `set -- WORDS` at its head says what they are")
        if name == "#":
            return str(len(self.parameters))
        at = int(name[:6])
        return self.parameters[at - 1] if at <= len(self.parameters) else None

    def assign(self, name: str, value: str | Odd | None) -> None:
        """Give a variable a value, or take it away."""
        if name in self.fixed:
            raise Unknown(f"{name} is readonly, and the script ends here")
        if (name in _MACHINE and name not in _GIVEN) or name.startswith("BASH"):
            raise Unknown(f"{name} is a variable of the shell's own: a script that sets it is not read")
        self.variables[name] = value

    def keep(self, name: str) -> None:
        """Make a variable one of the function that runs."""
        kept = self.locals[-1]
        if name in kept or f"!{name}" in kept:
            return
        if name in self.variables:
            kept[name] = self.variables[name]
        else:
            kept[f"!{name}"] = None  # no name begins so

    def restore(self) -> None:
        """Give variables back what they were before the function."""
        for name, value in self.locals.pop().items():
            if name.startswith("!"):
                self.variables.pop(name[1:], None)
            else:
                self.variables[name] = value
