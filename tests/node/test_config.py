"""The settings: each documented once, the file that `init` writes, and what is refused."""

import tomllib
from pathlib import Path

import pytest

from node.config import (
    Settings,
    SettingsError,
    commented,
    declared,
    read_settings,
)
from node.places import data_directory


def _write(folder: Path, text: str) -> Path:
    (folder / "hedgerow.toml").write_text(text, "utf-8")
    return folder


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    assert read_settings(tmp_path, {}) == Settings()


def test_the_commented_file_is_toml_that_changes_nothing(tmp_path: Path) -> None:
    assert read_settings(_write(tmp_path, commented()), {}) == Settings()


def test_taking_the_marks_away_from_the_commented_file_gives_every_setting_its_default(
    tmp_path: Path,
) -> None:
    names = {setting.key for setting in declared()}
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in names else line
        for line in commented().splitlines()
    ]
    text = "\n".join(lines)
    assert sum(len(section) for section in tomllib.loads(text).values()) == len(names)
    assert read_settings(_write(tmp_path, text), {}) == Settings()


def test_given_values_are_written_and_read_back_whatever_characters_they_hold(tmp_path: Path) -> None:
    odd = 'http://"quoted"\\path/é'
    text = commented({("web", "public_url"): odd, ("web", "hosts"): ["a", 'b"'], ("links", "dial"): False})
    settings = read_settings(_write(tmp_path, text), {})
    assert settings.web.public_url == odd
    assert settings.web.hosts == ["a", 'b"']
    assert not settings.links.dial


def test_every_setting_is_described_in_the_file_beside_its_variable() -> None:
    text = commented()
    for setting in declared():
        assert setting.description
        assert f"({setting.variable})" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[web]\nlisen = "x"', "[web] has no key lisen; did you mean listen?"),
        ("[wbe]\n", "there is no section [wbe]; did you mean web?"),
        ("[web]\nzzz = 1", "[web] has no key zzz; known are listen"),
        ("web = 3", "web is a section"),
        ("[web]\nlisten = 3", "web.listen: expected text, got a whole number"),
        (
            '[log]\nlevel = "loud"',
            "log.level: invalid enum value 'loud'; it may be error, warning, info, debug.",
        ),
        ("[web", "is not valid TOML"),
        ('[web]\nlisten = "8460"', "name the host too: 127.0.0.1:8460 serves this machine alone"),
        ('[web]\nlisten = ":8460"', "name the host too"),
        ('[web]\nlisten = "127.0.0.1:99999"', "write it as HOST:PORT"),
        ('[web]\nlisten = "http://roanne:80"', "write it as HOST:PORT"),
        ('[web]\npublic_url = "ftp://roanne"', "web.public_url: ftp://roanne is no address of a node"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(_write(tmp_path, text), {})
    assert says in caught.value.says
    assert str(tmp_path) in caught.value.says
    assert "\n" not in caught.value.says


def test_an_address_without_a_scheme_is_taken_as_http(tmp_path: Path) -> None:
    settings = read_settings(_write(tmp_path, '[web]\npublic_url = "roanne.example:8460"'), {})
    assert settings.web.public_url == "http://roanne.example:8460"


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    folder = _write(tmp_path, '[web]\nlisten = "127.0.0.1:1"\npublic_url = "http://a"')
    settings = read_settings(
        folder,
        {
            "HEDGEROW_WEB__LISTEN": "127.0.0.1:2",
            "HEDGEROW_WEB__HOSTS": "one, two",
            "HEDGEROW_WEB__PUBLIC_READING": "false",
            "HEDGEROW_LOG__LEVEL": "debug",
        },
    )
    assert settings.web.listen == "127.0.0.1:2"
    assert settings.web.public_url == "http://a"
    assert settings.web.hosts == ["one", "two"]
    assert settings.web.public_reading is False
    assert settings.log.level == "debug"


def test_a_variable_that_sets_nothing_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean HEDGEROW_WEB__LISTEN"):
        read_settings(tmp_path, {"HEDGEROW_WEB__LISEN": "x"})


def test_a_variable_of_the_wrong_type_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HEDGEROW_LINKS__DIAL=often: expected true or false"):
        read_settings(tmp_path, {"HEDGEROW_LINKS__DIAL": "often"})


def test_a_variable_that_is_none_of_a_few_words_is_told_them(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HEDGEROW_LOG__LEVEL=loud: .*; it may be error, warning, info"):
        read_settings(tmp_path, {"HEDGEROW_LOG__LEVEL": "loud"})


def test_the_data_directory_is_the_option_then_the_variable_then_the_users_own(tmp_path: Path) -> None:
    assert data_directory(str(tmp_path), {"HEDGEROW_DATA": "elsewhere"}) == tmp_path
    assert data_directory(None, {"HEDGEROW_DATA": str(tmp_path)}) == tmp_path
    assert data_directory(None, {}).name == "hedgerow"
