import tempfile
from pathlib import Path

import pytest

from marketplace import settings


def test_defaults_stand_for_what_is_not_set() -> None:
    loaded = settings.load({})
    assert loaded.url == "http://127.0.0.1:8000"
    assert loaded.home == Path("~/.opc-market").expanduser()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "eighty"), ("PORT", "70000"), ("SHELF", "all"), ("LANG", "fr"), ("REPLICA_MEMORY", "1")],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(settings.SettingError, match=f"MARKET_{name}"):
        settings.load({f"MARKET_{name}": value})


@pytest.mark.parametrize(
    ("given", "tiers"),
    [
        ("", ("core",)),
        ("core", ("core",)),
        ("voice", ("voice",)),
        ("core,voice", ("core", "voice")),
        (" voice , core ", ("voice", "core")),
        ("none", ()),
    ],
)
def test_the_shelf_is_named_by_its_tiers(given: str, tiers: tuple[str, ...]) -> None:
    assert settings.load({"MARKET_SHELF": given}).shelf == tiers


@pytest.mark.parametrize("given", ["all", "core,none", "none,voice", ",", "core voice", "Core"])
def test_a_shelf_that_there_is_not_is_refused(given: str) -> None:
    with pytest.raises(settings.SettingError, match="core, voice"):
        settings.load({"MARKET_SHELF": given})


def test_socket_paths_stay_short_however_long_the_home_is() -> None:
    loaded = settings.load({"MARKET_HOME": "/tmp/" + "long/" * 40})
    assert len(str(loaded.run_dir)) < 60 or not str(loaded.run_dir).startswith(tempfile.gettempdir())
    assert len(str(loaded.shop_socket)) < 100


def test_every_setting_is_loaded_and_has_help_in_both_languages() -> None:
    fields = settings.Settings.__dataclass_fields__
    for setting in settings.SETTINGS:
        assert setting.name in fields
        assert setting.help_en and setting.help_zh
