"""The image comes from the distribution's own package sources, whatever else a machine lists."""

import pytest

from fwproof.errors import LabError
from fwproof.lab.sources import Distribution, acquire_options, distribution, own_sources

BOOKWORM = Distribution("debian", "bookworm")
NOBLE = Distribution("ubuntu", "noble")
DEBIAN = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
UBUNTU = "deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg]"

DEB822 = """\
# comment
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main non-free
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://vendor.test/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main
"""


def test_deb822_keeps_the_distribution_s_own():
    assert own_sources(BOOKWORM, {"debian.sources": DEB822}) == (
        f"{DEBIAN} http://mirror.test/debian bookworm main",
        f"{DEBIAN} http://mirror.test/debian bookworm-updates main",
    )


@pytest.mark.parametrize(
    "line",
    [
        "deb [signed-by=/etc/apt/keyrings/vendor.gpg] http://vendor.test/debian bookworm main",
        "deb http://vendor.test/linux/debian bookworm stable",
        "deb http://vendor.test/pub/debian bookworm-vendor main",
        "deb http://vendor.test/packages bookworm main",
        "deb-src http://mirror.test/debian bookworm main",
        "# deb http://off.test/debian bookworm main",
    ],
)
def test_others_are_left_out(line):
    text = f"deb http://mirror.test/debian bookworm main contrib # ours\n{line}\n"
    assert own_sources(BOOKWORM, {"sources.list": text}) == (f"{DEBIAN} http://mirror.test/debian bookworm main",)


def test_a_private_mirror_at_an_unusual_path_is_used_when_it_is_the_only_one():
    text = "deb http://mirror.test/apt/stable bookworm main\n"
    assert own_sources(BOOKWORM, {"sources.list": text}) == (f"{DEBIAN} http://mirror.test/apt/stable bookworm main",)


def test_ubuntu_needs_universe():
    text = "deb http://mirror.test/ubuntu/ noble main restricted universe multiverse\n"
    assert own_sources(NOBLE, {"sources.list": text}) == (f"{UBUNTU} http://mirror.test/ubuntu/ noble main universe",)


@pytest.mark.parametrize("text", ["", "deb http://mirror.test/debian trixie main\n"])
def test_no_source_is_one_clear_error(text):
    with pytest.raises(LabError, match="no package source for debian bookworm"):
        own_sources(BOOKWORM, {"sources.list": text})


def test_os_release():
    assert distribution('NAME="Debian"\nID=debian\nVERSION_CODENAME=bookworm\n') == BOOKWORM
    assert distribution('ID="ubuntu"\nVERSION_CODENAME="noble"\n') == NOBLE


@pytest.mark.parametrize("text", ["", "ID=fedora\n", "ID=debian\nVERSION_CODENAME=../x\n", 'ID="debian\n'])
def test_another_distribution_is_refused(text):
    with pytest.raises(LabError, match="made of Debian or Ubuntu packages"):
        distribution(text)


def test_only_fetching_options_are_passed_on():
    kept = ('Acquire::http::Proxy "http://proxy.test:3128";', 'Acquire::Retries "3";', 'Acquire::Check-Date "false";')
    left = ('APT::Install-Recommends "1";', 'Acquire::cdrom::mount "/media/cdrom/";', 'Acquire::http::Proxy "";')
    assert acquire_options("\n".join((*kept, *left))) == kept
