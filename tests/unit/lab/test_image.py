"""Images that no lab runs on go when a new one is built; one that a lab runs on never does."""

import subprocess
import sys

import pytest

from fwproof.errors import LabError
from fwproof.lab import image


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with three images, as far as their folders go; files in them are of this user's own ids."""
    monkeypatch.setattr(image, "cache_base", lambda: tmp_path)
    monkeypatch.setattr(image, "command_inside", lambda argv: argv)
    monkeypatch.setattr(image, "_this_release", lambda: image.Distribution("debian", "bookworm"))
    for name in ("old-1", "old-2"):
        (tmp_path / name / "root" / "etc").mkdir(parents=True)
    return tmp_path


def build(folder, _tar, _progress, _kind):
    (folder / "root").mkdir(parents=True)


def names(folder):
    return {path.name for path in folder.iterdir() if path.is_dir()}


HOLD = """
import sys
from pathlib import Path
from fwproof.lab.image import hold_image

hold_image(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held(cache):
    """Another process runs on the image `old-1`."""
    words = [sys.executable, "-c", HOLD, str(cache / "old-1" / "root")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def test_building_removes_the_images_before(cache, monkeypatch):
    monkeypatch.setattr(image, "_build", build)
    (cache / ".old-0.new").mkdir()  # what a killed build left
    told = []
    root = image.ensure_image(told.append)
    assert names(cache) == {root.parent.name}
    assert told == [f"image: removed {name}, which no lab uses any more" for name in ("old-1", "old-2")]


def test_building_leaves_the_current_image_of_another_kind(cache, monkeypatch):
    monkeypatch.setattr(image, "_build", build)
    plain = image.ensure_image(lambda _line: None).parent.name
    (cache / "front-ends_old" / "root").mkdir(parents=True)
    told = []
    other = image.ensure_image(told.append, kind="front-ends").parent.name
    assert names(cache) == {plain, other}
    assert told == ["image: removed front-ends_old, which no lab uses any more"]
    assert other.startswith("front-ends_bookworm-")


def test_no_image_has_both_of_two_packages_that_break_each_other():
    for packages in image.IMAGES.values():
        assert not {"ufw", "iptables-persistent"} <= set(packages)
        assert {"openssh-server", "iptables", "nftables"} <= set(packages)


@pytest.mark.usefixtures("held")
def test_an_image_in_use_stays(cache, monkeypatch):
    monkeypatch.setattr(image, "_build", build)
    root = image.ensure_image(lambda _line: None)
    assert names(cache) == {root.parent.name, "old-1"}


def test_an_image_that_is_there_removes_nothing(cache):
    image.image_folder().joinpath("root").mkdir(parents=True)
    image.ensure_image(lambda _line: None)
    assert {"old-1", "old-2"} < names(cache)


def test_one_that_cannot_be_removed_does_not_cost_the_new_one(cache, monkeypatch):
    def refuse(_folder):
        raise LabError("busy")

    monkeypatch.setattr(image, "_build", build)
    monkeypatch.setattr(image, "_remove", refuse)
    told = []
    assert image.ensure_image(told.append).is_dir()
    assert told[-1] == "image: an older one stays: busy"


def test_removing_all(cache):
    assert image.remove_images() == ["old-1", "old-2"]
    assert not names(cache)


@pytest.mark.usefixtures("held")
def test_removing_all_says_which_is_in_use(cache):
    with pytest.raises(LabError, match="old-1 is in use"):
        image.remove_images()
    assert names(cache) == {"old-1"}


def test_a_lab_cannot_start_on_an_image_that_is_gone(cache):
    with pytest.raises(LabError, match="run the same command again"):
        image.hold_image(cache / "none" / "root")
