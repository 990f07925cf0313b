"""What iptables-restore reads: tables one after the other, from a script or from a file."""

import pytest

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.gating.commits import in_turn, restored
from fwproof.gating.guard import Harm, guarded
from fwproof.gating.script import read_script
from fwproof.gating.states import states
from fwproof.gating.tables import text_of
from fwproof.semantics.model import HostModel

RUNS = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:OLD - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -m state --state ESTABLISHED -j ACCEPT
-A OLD -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 81 -j REDIRECT --to-ports 80
COMMIT
"""


def after(text, base=RUNS):
    start = HostModel.build(iptables_save=base, ip6tables_save="")
    *_, last = states(start, read_script(text, "s.sh"), dict.fromkeys(Family, "rules"))
    return text_of(last.model.rulesets[Family.IPV4][0])


def fed(text, options=""):
    return f"iptables-restore {options} <<'END'\n{text}END\n"


WHOLE = "# made\n*filter\n:INPUT DROP [0:0]\n# by hand\n\n:NEW - [0:0]\n[3:9] -A INPUT -j NEW\nCOMMIT\n"


def test_a_table_is_made_anew_and_the_others_stay():
    found = after(fed(WHOLE))
    assert "-A INPUT -j NEW" in found
    assert "OLD" not in found
    assert "--dport 22" not in found
    assert "--to-ports 80" in found


def test_with_noflush_what_is_there_stays_and_chains_that_are_named_are_emptied():
    found = after(fed("*filter\n:OLD - [0:0]\n:INPUT ACCEPT [0:0]\n-A OLD -j DROP\nCOMMIT\n", "-n"))
    assert "--dport 22" in found
    assert ":INPUT ACCEPT" in found
    assert "-A OLD -j DROP" in found
    assert "-A OLD -j ACCEPT" not in found


def test_values_of_the_script_stand_in_it_unless_its_mark_is_quoted():
    text = "PORT=443\niptables-restore -n <<END\n*filter\n-A INPUT -p tcp --dport $PORT -j ACCEPT\nCOMMIT\nEND\n"
    assert "--dport 443" in after(text)
    assert "--dport $PORT" in after(text.replace("<<END", "<<'END'"))


def test_each_table_is_a_step_at_its_commit():
    commands = read_script("\n" + fed(WHOLE + "*nat\nCOMMIT\n"), "s.sh")
    assert [(each.table, each.line) for each in commands] == [("filter", 10), ("nat", 12)]
    assert str(commands[0]) == "s.sh:10: iptables-restore (COMMIT of table filter)"
    assert commands[0].block[2].line == 9
    assert commands[0].feed == "*filter\n:INPUT DROP [0:0]\n:NEW - [0:0]\n[3:9] -A INPUT -j NEW\nCOMMIT\n"


REFUSED = {
    fed("*filter\n-A INPUT -j DROP\n"): (1, "expected COMMIT"),
    fed("-A INPUT -j DROP\nCOMMIT\n"): (2, r"expected \*TABLE"),
    fed("*nope\nCOMMIT\n"): (2, "not a table"),
    fed("COMMIT\n"): (2, r"expected \*TABLE, found 'COMMIT'"),
    fed("*filter\n:INPUT REJECT\nCOMMIT\n"): (3, "ACCEPT, DROP or -"),
    fed('*filter\n-A INPUT -m comment --comment "a\nCOMMIT\n'): (3, "never closed"),
    fed("*filter\n-t nat -A INPUT -j DROP\nCOMMIT\n"): (3, "no place"),
    fed("*filter\n-Q\nCOMMIT\n"): (3, "expected one of"),
    fed("*filter\n-A NOPE -j DROP\nCOMMIT\n", "-n"): (3, "no chain NOPE"),
    fed(WHOLE, "--table=nat"): (1, "of its options"),
    fed("*filter\nCOMMIT\n"): (3, "the policy of INPUT is DROP"),
    fed(WHOLE + "*nat\nCOMMIT\n").replace("<<'END'", "<<'END' || true"): (11, "leave out"),
    "iptables-restore < rules.v4": (1, "input from elsewhere"),
    "iptables-restore rules.v4": (1, "not in the script"),
    "iptables -F <<END\nEND\n": (1, "reads no here-document"),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.items(), ids=[message for _, message in REFUSED.values()])
def test_what_cannot_be_loaded_is_a_fault_at_its_line(text, fault):
    line, message = fault
    with pytest.raises(InputError, match=message) as refused:
        after(text)
    assert str(refused.value).startswith(f"s.sh:{line}:")


def test_between_two_commits_a_log_in_may_be_lost(build, ssh):
    """The port of the new table nat goes with the new table filter, and there is a moment between them."""
    new = (
        RUNS.replace("--dport 22", "--dport 2222").replace("--dport 81", "--dport 22").replace("ports 80", "ports 2222")
    )
    texts, sources = {"iptables_save": new}, {"iptables_save": "rules.v4"}
    loaded = restored(build(RUNS), build(new), texts, sources)
    assert [str(state.command) for state in loaded.states[1:]] == [
        "rules.v4:9: COMMIT of table filter", "rules.v4:13: COMMIT of table nat"]  # fmt: skip
    (found,) = guarded([ssh], loaded.states).found
    assert (found.harm, found.first.line, found.until.line) == (Harm.NO_LOGIN, 9, 13)
    turned = new[new.index("*nat") :] + new[: new.index("*nat")]
    assert guarded([ssh], restored(build(RUNS), build(turned), {"iptables_save": turned}, sources).states).found


def test_tables_that_a_file_does_not_name_stay_and_are_told(build):
    new = RUNS[: RUNS.index("*nat")]
    loaded = restored(build(RUNS), build(new), {"iptables_save": new}, {"iptables_save": "etc/rules.v4"})
    (word,) = loaded.assumed
    assert word.startswith("ipv4 nat: runs now, and rules.v4 has no such table")
    assert "nat" in loaded.states[-1].model.rulesets[Family.IPV4][0].tables
    assert "--to-ports 80" in loaded.under["iptables_save"]
    assert not restored(build(new), build(new), {"iptables_save": new}, {}).assumed
    empty = new + "*mangle\n:INPUT {} [0:0]\nCOMMIT\n"
    assert not restored(build(empty.format("ACCEPT")), build(new), {"iptables_save": new}, {}).assumed
    (word,) = restored(build(empty.format("DROP")), build(new), {"iptables_save": new}, {}).assumed
    assert word.startswith("ipv4 mangle: runs now")


def test_files_of_nft_are_steps_and_each_is_one(build, ssh):
    scripts = [("a.nft", "flush ruleset"), ("b.nft", "")]
    loaded = in_turn(build(RUNS), scripts, [build("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"), build(RUNS)])
    (found, other) = guarded([ssh], loaded.states).found
    assert {found.harm, other.harm} == {Harm.CUT, Harm.NO_LOGIN}
    assert str(found.first) == "a.nft: nft -f"
    assert not loaded.assumed
    assert len(in_turn(None, scripts, [build(), build()]).states) == 3
    assert len(in_turn(None, scripts[1:], [build()]).states) == 1
    assert "empty tables" in in_turn(None, scripts[1:], [build()]).assumed[0]
