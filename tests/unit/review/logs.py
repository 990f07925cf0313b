"""Logs of one's own making, for the tests of the review. Not a test itself."""

from datetime import UTC, datetime

from fwproof.evidence.log_stamps import Clock
from fwproof.evidence.packet_log import Kind, Line, read_line
from fwproof.review.findings import Known
from fwproof.review.period import period_of
from fwproof.review.places import Places
from fwproof.review.review import review
from fwproof.review.tally import ROOM, Tally

NOW = datetime(2024, 12, 1, tzinfo=UTC).timestamp()


def line(day, hour=0, minute=0, second=0, *, prefix="drop in:", iif="eth0", oif="", src="203.0.113.66",
         dst="10.0.0.10", dport=22, sport=40000, proto="TCP", flags="SYN"):  # fmt: skip
    """A line of the kernel, of November 2024; a date of None leaves it without one."""
    stamp = f"2024-11-{day:02}T{hour:02}:{minute:02}:{second:02}Z h kernel: " if day else ""
    rest = {"TCP": f"SPT={sport} DPT={dport} WINDOW=1 RES=0x00 {flags} URGP=0",
            "UDP": f"SPT={sport} DPT={dport} LEN=9"}.get(proto, f"TYPE={dport} CODE=0")  # fmt: skip
    return f"{stamp}{prefix} IN={iif} OUT={oif} MAC= SRC={src} DST={dst} LEN=60 TTL=60 PROTO={proto} {rest} "


def tally_of(lines, known=None, room=ROOM):
    """Count lines as the verb does."""
    known = known or Known(places=Places(None))
    tally = Tally(known.places.inside, known.allow_of, known.loggers.buckets() if known.loggers else {}, room)
    for text in lines:
        found = read_line(text.encode(), Clock(UTC, NOW))
        assert found.kind in {Kind.PACKET, Kind.NOT_UNDERSTOOD, Kind.OTHER}
        assert isinstance(found, Line)
        tally.add(found)
    return tally


def review_of(lines, known=None, since=None, until=None, room=ROOM):
    """Review lines; the period is the last week of them."""
    known = known or Known(places=Places(None))
    tally = tally_of(lines, known, room)
    return review(tally, period_of(since, until, tally.dated(), NOW), known)
