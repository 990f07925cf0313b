"""Sets of packets through random native nft rulesets against the walk of single packets.

The walk of single packets is compared with the kernel in test_nft.py; here decision diagrams have to agree with it.
``FWPROOF_SET_TABLES`` makes a larger run.
"""

import os
import random

import pytest

from fwproof.flow import CtState, Family
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import PATHS, Engine
from fwproof.semantics.model import HostModel
from fwproof.semantics.witness import dressed, follow

from . import kernel as k
from .random_nft import Ruleset
from .test_nft import NftKernel, load
from .test_sets import a_packet, said_by_sets, whole

pytestmark = [pytest.mark.lab]
TABLES = int(os.environ.get("FWPROOF_SET_TABLES", "40"))
CONFIGS = [Config(CtState.NEW), Config(CtState.ESTABLISHED, "reply", 0, 1), Config(CtState.INVALID),
           Config(CtState.UNTRACKED)]  # fmt: skip


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory, NftKernel, settle=0.1) as scratch:
        yield scratch


def build(kernel, rng, serial):
    """Return a model of a random ruleset, its family, and the text that nft lists."""
    version = rng.choice([4, 6])
    ruleset = Ruleset(rng, version, serial, outward=rng.random() < 0.25)
    model = HostModel.build(nft_json=load(kernel, ruleset), addresses=kernel.facts[0], routes=kernel.facts[1])
    return model, version, kernel.run("nft", "list", "ruleset")


def test_diagrams_decide_as_the_walk_of_every_packet(kernel):
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "1")))
    for serial in range(TABLES):
        model, version, text = build(kernel, rng, serial)
        engine = Engine([model], Family.IPV4 if version == 4 else Family.IPV6)
        for hook in PATHS:
            path = engine.hosts[0].asked(hook)
            for config in CONFIGS:
                _, ends = path.flow(whole(engine, config))
                for _ in range(20):
                    flow = dressed(a_packet(rng, version, hook), config)
                    walked = {leaf.decision for leaf in follow(model, flow, hook)}
                    said = said_by_sets(engine, ends, flow)
                    told = f"{hook} {flow} {config}: walk {walked}, sets {said}\n{text}"
                    assert walked == said or flow.ttl <= 1, told
