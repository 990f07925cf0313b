"""``fwproof controls``: which controls of which framework checks support, and policies to start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from fwproof.audit.reading import INVENTORY
from fwproof.audit.run import AuditRun
from fwproof.cli.plan import policy_files
from fwproof.cli.saying import say
from fwproof.controls import Framework
from fwproof.errors import UsageError
from fwproof.policy.baseline import baseline
from fwproof.policy.catalogue import Catalogue, catalogue_of, joined
from fwproof.policy.nearest import suggest
from fwproof.policy.table_model import MANAGERS
from fwproof.report.controls import Claim, Coverage, coverage, of_results
from fwproof.report.controls_text import (
    catalogue_document,
    catalogue_lines,
    catalogue_markdown,
    document,
    lines,
    markdown,
)
from fwproof.report.document import read_results

_LIST_HEAD = "Frameworks, and how many of their controls the catalogue knows; its words are not the publishers'."


@click.command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--framework", "names", multiple=True, metavar="ID", help="Only this framework; again for more.")
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option(
    "--inventory", type=click.Path(path_type=Path), help="Hosts of policies  [default: fixtures/inventory.yaml]."
)
@click.option(
    "--baseline", "baselines", multiple=True, metavar="ID", help="Print a policy to start from; again to join."
)
@click.option("--manager", type=click.Choice(MANAGERS[1:]), help="Who manages the hosts of the baseline.")
@click.option("--hosts", default="", metavar="NAMES", help="Hosts or groups of the baseline, with commas.")
@click.option("--admins", default="", metavar="NAMES", help="Zones or hosts that administer them, with commas.")
def controls(  # noqa: PLR0913 - one parameter for each option
    *, source: Path | None, names: tuple[str, ...], form: str, inventory: Path | None, baselines: tuple[str, ...],
    manager: str | None, hosts: str, admins: str,
) -> None:  # fmt: skip
    """Show which controls the checks of SOURCE support: a run's folder or results.json, or policies.

    Without SOURCE, list the frameworks of the catalogue, or with --framework the controls of one: what each asks for,
    what a check can show of it, what none can, and what of a policy supports it. A check supports a control; it never
    satisfies one.

    \b
    Examples:
      fwproof controls
      fwproof controls --framework pci-dss-4.0.1
      fwproof controls reports/latest --framework pci-dss-4.0.1
      fwproof controls checks --format markdown
      fwproof controls --baseline cis-debian-12-1.1.0 --baseline pci-dss-4.0.1 \\
          --hosts web1,web2 --admins admin > checks/web.policy.yaml

    \b
    Exit status: 0 said · 4 bad input
    """
    if baselines:
        _no_more(source, names, form)
        click.echo(_baseline(baselines, manager, hosts, admins), nl=False)
        return
    if manager or hosts or admins:
        raise UsageError("--manager, --hosts and --admins are about a --baseline: say which")
    if source is None:
        known = catalogue_of(Path("checks"))
        _catalogue([_named(name, known) for name in names] if names else list(known.values()), form, whole=bool(names))
        return
    found = _covered(source, inventory or INVENTORY)
    known = {one.framework.id: one.framework for one in found}
    chosen = [one for one in found if not names or one.framework in [_named(name, known) for name in names]]
    _show(chosen, form, source)


def _no_more(source: Path | None, names: Sequence[str], form: str) -> None:
    if source is not None or names or form != "text":
        raise UsageError("--baseline prints a policy, and goes with --manager, --hosts and --admins only")


def _baseline(names: Sequence[str], manager: str | None, hosts: str, admins: str) -> str:
    known = catalogue_of(Path("checks"))
    parts = [[part.strip() for part in text.split(",") if part.strip()] for text in (hosts, admins)]
    frameworks = [_named(name, known) for name in dict.fromkeys(names)]
    return baseline(frameworks, manager=manager or "", hosts=parts[0], admins=parts[1])


def _named(name: str, known: Catalogue | Mapping[str, Framework]) -> Framework:
    if name not in known:
        advice = suggest(name, known) or f"; there are {', '.join(known) or 'none'}"
        raise UsageError(f"there is no framework {name!r} here{advice}")
    return known[name]


def _covered(source: Path, inventory: Path) -> tuple[Coverage, ...]:
    """Return the coverage of a run, or of policies where the source is one or a folder of them."""
    if (source / "results.json").is_file() or source.suffix == ".json":
        return of_results(read_results(source))
    files = policy_files([source])
    if not files:
        raise UsageError(f"{source}: neither a run's results.json nor a policy is there")
    run = AuditRun(
        inventory_path=inventory, reports=Path("reports"), exercise=True, command="controls", root=Path.cwd()
    )
    checks = run.checks_of_all(files)
    claims = [
        Claim(controls=check.expectation.controls, expectation=check.expectation.id, verdict=None) for check in checks
    ]
    return coverage(joined(run.policies.values()), claims)


def _catalogue(frameworks: Sequence[Framework], form: str, *, whole: bool) -> None:
    if form == "json":
        click.echo(json.dumps({"frameworks": [catalogue_document(one) for one in frameworks]}))
    elif form == "markdown":
        click.echo("\n\n".join(map(catalogue_markdown, frameworks)))
    elif whole:
        say(line for one in frameworks for line in catalogue_lines(one, _width()))
    else:
        wide = max(len(one.id) for one in frameworks)
        rows = (f"  {one.id:<{wide}}  {len(one.controls):>3}  {one.title}" for one in frameworks)
        say([_LIST_HEAD, "", *rows, "", "fwproof controls --framework ID shows one."])


def _show(found: Sequence[Coverage], form: str, source: Path) -> None:
    if form == "json":
        click.echo(json.dumps({"source": str(source), "frameworks": document(found)}))
    elif form == "markdown":
        click.echo(markdown(found))
    else:
        say(lines(found, _width()) if found else ["no control is named"])


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)
