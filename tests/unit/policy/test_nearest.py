"""The nearest name for a misspelt one: by letters, by how it begins, and among files."""

from fwproof.policy.nearest import nearest, suggest, suggest_path

NAMES = ["ai-server", "admin", "pci-dss-4.0.1", "iso-27001-2022"]


def test_the_nearest_name_is_suggested():
    assert suggest("ai-servr", NAMES) == "; did you mean 'ai-server'?"
    assert suggest("ADMIN", NAMES) == "; did you mean 'admin'?"
    assert suggest("zebra", NAMES) == ""


def test_a_beginning_is_enough_where_only_one_name_has_it():
    assert nearest("pci", NAMES) == "pci-dss-4.0.1"
    assert nearest("a", NAMES) is None
    assert nearest("net", ["net-one-long-name", "net-two-long-name"]) is None


def test_a_part_is_enough_where_only_one_name_has_it():
    assert nearest("api", ["ollama-api", "sshd"]) == "ollama-api"
    assert nearest("api", ["ollama-api", "weather-api"]) is None


def test_the_nearest_file_of_a_folder_is_suggested(tmp_path):
    (tmp_path / "checks").mkdir()
    assert suggest_path(tmp_path / "check") == "; did you mean 'checks'?"
    assert suggest_path(tmp_path / "none" / "check") == ""
