"""Random scripts in the part of the shell that a gate follows: what they run is a matter of words, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

NAMES = ("a", "b", "c", "list")
_TEXTS = (
    "", "x", "22", "10.0.0.1", "one two", " lead", "trail ", "tcp:22", "a/b/c", "-j", "two  blanks",
    "two\nlines", "*", "=", "!",
)  # fmt: skip
_PATTERNS = ("*:", ":*", "*/", "/*", "?", "x", "[0-9]*", "*[!0-9]", "'*'", "*", '"$b"', "$b", "tcp*", "*2")
_OPERATORS = (":-", "-", ":+", "+", "%", "%%", "#", "##", ":=")


class Writer:
    """Writes one script; every choice is the generator's."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.functions, self.depth, self.loops = chance, list[str](), 0, 0
        self.inside, self.counter = False, 0

    def pick(self, some: tuple[str, ...]) -> str:
        return self.chance.choice(some)

    def script(self) -> str:
        head = [f"{name}={self.quote(self.pick(_TEXTS))}" for name in NAMES]
        head += [self.pick(("set -e", "set -u", "# a comment"))]
        head += [self.pick(("set -- one 'two words' 3", "set --", "set -- '' x"))]
        return "\n".join([*head, *self.lines(self.chance.randrange(3, 9)), ""])

    def lines(self, count: int) -> list[str]:
        return [self.statement() for _ in range(count)]

    def body(self) -> str:
        self.depth += 1
        found = self.lines(self.chance.randrange(1, 4))
        self.depth -= 1
        return self.pick(("\n", "; ", "\n\n  ")).join(line for line in found) if not any(
            "<<" in line or "#" in line for line in found) else "\n".join(found)  # fmt: skip

    def statement(self) -> str:
        simple: list[Callable[[], str]] = [self.command] * 4 + [self.assign, self.assign, self.chain, self.parameters]
        if self.chance.random() < 0.4:
            simple.append(self.said)
        deep = [self.for_, self.if_, self.case, self.while_, self.function, self.group]
        if self.functions:
            simple += [self.call] * 2
        if self.loops:
            simple.append(lambda: f"[ {self.test()} ] && {self.pick(('break', 'continue', 'break 2', 'continue 2'))}")
        if self.inside:
            simple += [self.local, lambda: f"[ {self.test()} ] && return {self.pick(('', '1', '0'))}"]
        return self.chance.choice(simple + deep if self.depth < 3 else simple)()

    # ---- words

    def quote(self, text: str) -> str:
        return self.pick((f"'{text}'", f'"{text}"'))

    def value(self, *, quoted: bool = False) -> str:
        name = self.pick((*NAMES, *NAMES, "1", "2"))
        if self.chance.random() < 0.5:
            return self.pick((f"${name}", f"${{{name}}}", f"${{#{name}}}"))
        operator = self.pick(_OPERATORS)
        others = ("x", "$b", "${c:-y}", "one two", "", "$list")
        quotes = () if quoted else ("'q q'", '"$a"', 'l"q r"s')
        word = self.pick(_PATTERNS if operator[0] in "%#" else (*others, *quotes))
        return f"${{{name}{operator}{word}}}"

    def word(self) -> str:
        kind = self.chance.randrange(12)
        if kind < 3:
            return self.pick(("-A", "INPUT", "22", "x#y", "a=b", "{", "}", "do", "a\\\nb", "\\$a", "a\\ b", "''", '""'))
        if kind < 5:
            return self.quote(self.pick(_TEXTS))
        if kind < 7:
            return f'"{self.value(quoted=True)}"'
        if kind < 9:
            return self.value()
        if kind == 9:
            return self.pick(('"$@"', "$@", "$*", '"$*"', "$#", '"p$@s"', '"$@"x', '"$#$a"'))
        if kind == 10:
            return f"$(({self.sum()}))"
        return self.pick(("p", "")) + f'"{self.pick(_TEXTS).strip("!")}{self.value(quoted=True)}"' + self.value()

    def sum(self) -> str:
        one = ("1", "2", "10", "$#", "n", "$n", "(1 + n)", "-3")
        return f"{self.pick(one)} {self.pick(('+', '-', '*', '/', '%', '<', '==', '>='))} {self.pick(one)}"

    def test(self) -> str:
        word = self.pick(('"$a"', '"$b"', '"${1:-}"', "x", '"$#"', '"$n"', "$a", "'!'", "-n"))
        other = self.pick(('"$b"', "22", '""', "3", "'='"))
        return self.pick((f"-n {word}", f"-z {word}", f"{word} = {other}", f"{word} != {other}", f"! {word} = {other}",
                          f"$# -gt {self.pick(('0', '1', '3'))}", '"$n" -le 3', word, f"! -n {word}"))  # fmt: skip

    # ---- commands

    def command(self) -> str:
        program = self.pick(("iptables", "iptables", "ip6tables", '"iptables"', "$prog", "${IPT:-iptables}"))
        words = " ".join(self.word() for _ in range(self.chance.randrange(1, 5)))
        if self.chance.random() < 0.08:
            mark = self.pick(("EOF", "'EOF'", "-EOF"))
            text = f'{program} {words} <<{mark}\n*filter\n\t-A $a "${{b:-q}}" \\$x $((n + 1))\n'
            return text + "COMMIT\nEOF"
        tail = self.pick(("", "", "", " >/dev/null 2>&1", " 2>/dev/null", " || true", " # said", " || exit 1"))
        return f"{program} {words}{tail}"

    def said(self) -> str:
        """Return a command without a part in the tables, whose words may set a variable, or end the script."""
        odd = self.pick(
            ("$unset", "${a?none}", "${unset?none}", "${unset:=x}", "${c:?none}", "$1", "$0", "$(false)", "*")
        )
        return f"{self.pick(('echo', 'printf %s', 'echo'))} {self.word()} {odd} {self.word()}"

    def assign(self) -> str:
        name = self.pick(NAMES)
        value = self.pick((self.value(), f'"{self.value(quoted=True)}"', self.quote(self.pick(_TEXTS)), '"$*"', "$b$c",
                           f"n=$(({self.sum()}))"))  # fmt: skip
        if value.startswith("n="):
            return value
        return self.pick(("", "", "export ")) + f"{name}={value}"

    def chain(self) -> str:
        test = self.pick((f"[ {self.test()} ]", "true", "false", ":", f"! [ {self.test()} ]", "! false"))
        more = self.pick(("", f" && [ {self.test()} ]", f" || [ {self.test()} ]"))
        return f"{test}{more} {self.pick(('&&', '||'))} {self.command()}"

    def parameters(self) -> str:
        return self.pick(("set -- $a $b", 'set -- "$@" last', "shift", "[ $# -gt 0 ] && shift", "set +e", "unset c",
                          'set -- "$a" "$b"', "c=$list", "false", "iptables $?", "x=1 && iptables $?"))  # fmt: skip

    def for_(self) -> str:
        words = " ".join(self.word() for _ in range(self.chance.randrange(4)))
        head = self.pick((f"for {self.pick(NAMES)} in {words}", f"for {self.pick(NAMES)}"))
        self.loops += 1
        text = f"{head}; do\n{self.body()}\ndone"
        self.loops -= 1
        return text

    def while_(self) -> str:
        self.counter += 1
        name = f"k{self.counter}"
        self.loops += 1
        body = self.body()
        self.loops -= 1
        test = self.pick((f"while [ ${name} -lt 3 ]", f"until [ ${name} -ge 2 ]", f"while [ ${name} -lt 2 ] && true"))
        return f"{name}=0\n{test}; do {name}=$(({name} + 1))\n{body}\ndone"

    def if_(self) -> str:
        more = f"\nelif ! [ {self.test()} ]; then {self.body()}\n" if self.chance.random() < 0.3 else "\n"
        rest = f"else {self.body()}\n" if self.chance.random() < 0.5 else ""
        return f"if [ {self.test()} ]\nthen {self.body()}{more}{rest}fi"

    def case(self) -> str:
        items = "".join(f"\n{self.pick(('', '('))}{self.pattern()}) {self.body()}\n;;" for _ in range(2))
        word = self.pick(("$a", '"$b"', "$#", "tcp:22"))
        return f"case {word} in{items}\n*) iptables else ;;\nesac"

    def pattern(self) -> str:
        one = self.pick(_PATTERNS)
        return f"{one} | {self.pick(_PATTERNS)}" if self.chance.random() < 0.3 else one

    def group(self) -> str:
        return f"{{ {self.body()}\n}}"

    def function(self) -> str:
        name = f"f{len(self.functions)}"
        kept = self.inside, self.loops, self.functions
        self.inside, self.loops, self.functions = True, 0, []
        text = f"{name}() {{ {self.body()}\n}}"
        self.inside, self.loops, self.functions = kept
        self.functions.append(name)
        return text

    def local(self) -> str:
        value = self.pick(('"$1"', "$a", "x", '"$*"'))
        return f"local {self.pick(NAMES)}={value}"

    def call(self) -> str:
        words = " ".join(self.word() for _ in range(self.chance.randrange(3)))
        return f"{self.chance.choice(self.functions)} {words}{self.pick(('', '', ' || iptables failed', ' && true'))}"


def script(seed: int) -> str:
    """Return a script; ``n`` is a number, ``prog`` a program, all else is random."""
    return "n=2\nprog=iptables\n" + Writer(random.Random(seed)).script()
