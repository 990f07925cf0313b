from types import MappingProxyType

import pytest

from fwproof.policy.model import Allow, Peers, Service
from fwproof.review.bucket import Bucket
from fwproof.review.findings import Known
from fwproof.review.places import Places
from fwproof.review.sorts import UNDATED
from fwproof.review.tally import PORTS_EACH

from .logs import line, review_of, tally_of


class Everybody:
    """Expects that everybody reaches port 443."""

    names = MappingProxyType({})

    def allow_of(self, sort):
        service = Service("tcp", 443, "https")
        peers = Peers("any", ())
        allow = Allow(id="https", title="", file="p", line=1, service=service, peers=peers)
        return allow if sort.port == 443 else None


def flood(count):
    for n in range(count):
        yield line(20, n % 24, n % 60, src=f"{45 + n % 50}.{n // 50 % 250}.{n // 12500}.9", dport=n % 3000)


def test_a_flood_takes_bounded_room_and_no_line_is_lost():
    tally = tally_of(flood(20_000), room=1000)
    assert sum(len(hours) for hours in tally.sorts.values()) < 2500
    assert sum(cell.count for hours in tally.sorts.values() for cell in hours.values()) == 20_000
    assert 17_000 < tally.merged < 20_000


def test_who_comes_again_and_again_is_kept_in_a_flood():
    def mixed():
        for n, text in enumerate(flood(20_000)):
            yield text
            if n % 500 == 0:
                yield line(20, n // 500 % 20, src="192.0.2.7", dport=25)
                yield line(20, n // 500 % 20, src="10.0.5.7", dport=23)

    found = review_of(mixed(), room=1000)
    assert [(each.address, each.total.count) for each in found.sources if each.what][:1] == [("192.0.2.7", 40)]
    (finding,) = found.acts
    assert (finding.kind, finding.data["count"]) == ("knocking", 40)
    assert any("without their addresses" in each for each in found.notes)
    assert found.total.count == 20_080


def test_a_source_of_ours_is_kept_however_rarely_it_comes():
    def mixed():
        for n, text in enumerate(flood(20_000)):
            yield text
            if n in {100, 200, 300}:
                yield line(20, n // 100, src="10.0.5.7", dst=f"10.0.0.{n // 100}", dport=23)

    (finding,) = review_of(mixed(), room=1000).acts
    assert (finding.kind, finding.data["count"]) == ("knocking", 3)


def test_strange_prefixes_and_stamps_are_bounded_too():
    tally = tally_of(line(1 + n % 28, n % 24, prefix=f"p{n}", src=f"45.1.{n // 250}.{n % 250}") for n in range(5000))
    assert len({sort.prefix for sort in tally.sorts}) == 501


def test_a_source_that_tries_every_port_takes_the_room_of_some():
    tally = tally_of(line(20, dport=port) for port in range(1, 5001))
    assert len(tally.sorts) == PORTS_EACH + 1
    (source,) = review_of([line(20, dport=port) for port in range(1, 5001)]).sources
    assert source.what == f"scan of {PORTS_EACH:,} or more ports"


def test_drops_of_what_is_allowed_that_had_to_be_merged_weaken_the_answer():
    known = Known(places=Places(None), expected=Everybody())
    lines = [line(20, src=f"45.1.{n // 250}.{n % 250}", dport=443) for n in range(3000)]
    found = review_of(lines, known, room=1000)
    assert any("had no room" in each for each in found.weakened)
    assert not review_of(lines[:300], known, room=1000).weakened


def test_hours_and_times_of_a_cell():
    tally = tally_of([line(20, 5, 30), line(20, 5, 10), line(20, 5, 20), line(None)])
    ((_, hours),) = tally.sorts.items()
    dated = next(cell for hour, cell in hours.items() if hour != UNDATED)
    assert (dated.count, dated.last - dated.first, hours[UNDATED].count) == (3, 1200, 1)


@pytest.mark.parametrize(("gap", "used_up"), [(0.5, 0), (0.05, 1), (0.1, 0)])
def test_a_bucket_is_used_up_where_lines_come_faster_than_it_fills(gap, used_up):
    bucket = Bucket(10, 1, 20)
    for n in range(100):
        bucket.take(1000 * 60 + n * gap)
    assert sum(bucket.used_up.values()) == used_up


def test_a_bucket_is_full_again_after_a_jump_back():
    bucket = Bucket(1, 3600, 4)
    for start in (6000, 3000, 0):  # files, the newest first
        for n in range(3):
            bucket.take(start + n)
    assert not bucket.used_up
