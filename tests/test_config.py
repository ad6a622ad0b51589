"""Settings: where a value comes from, which values are allowed, what is complained of."""

import subprocess
import sys
import warnings
from typing import Any

import pytest

from capriccio_patch.config import Settings
from capriccio_patch.errors import CapriccioError, CapriccioWarning, ConfigError

DEFAULTS = {
    "sockio": "auto",
    "diskio": "auto",
    "scheduler": "fifo",
    "seed": None,
    "graph": None,
    "slice": 0.010,
    "blocked": (0.1, "warn"),
    "deadlock": "warn",
    "dump": None,
    "ps": False,
    "offload": (),
    "native": (),
    "processors": 1,
    "core": "auto",
    "only": None,
    "exclude": (),
    "children": None,
}


def test_defaults() -> None:
    assert Settings.load({}).as_dict() == DEFAULTS


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPRICCIO_SOCKIO", "poll")
    assert Settings.load().sockio == "poll"


def test_arguments_beat_the_environment_which_beats_defaults() -> None:
    environ = {"CAPRICCIO_SOCKIO": "poll", "CAPRICCIO_DISKIO": "threads"}
    settings = Settings.load(environ, sockio="select")
    assert settings.as_dict() == DEFAULTS | {"sockio": "select", "diskio": "threads"}


def test_an_empty_variable_counts_as_absent() -> None:
    environ = {f"CAPRICCIO_{name.upper()}": "" for name in DEFAULTS}
    assert Settings.load(environ).as_dict() == DEFAULTS


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("slice", "0", 0.0),
        ("slice", " 0.05 ", 0.05),
        ("blocked", "off", (0.0, "off")),
        ("blocked", "raise", (0.1, "raise")),
        ("blocked", "0.5", (0.5, "warn")),
        ("blocked", "2:raise", (2.0, "raise")),
        ("blocked", "2:off", (0.0, "off")),
        ("blocked", "0:raise", (0.0, "off")),
        ("offload", "a.b, c.d,,", ("a.b", "c.d")),
        ("native", "-psycopg2, -curses", ("-psycopg2", "-curses")),
        ("native", "off", ("off",)),
        ("processors", "4", 4),
        ("processors", "auto", 0),
        ("only", "socket", ("socket",)),
        ("exclude", "time.sleep,socket", ("time.sleep", "socket")),
        ("children", "1", True),
        ("children", "off", False),
    ],
)
def test_the_same_text_means_the_same_in_environment_and_argument(
    field: str, text: str, value: object
) -> None:
    arguments: dict[str, Any] = {field: text}
    assert getattr(Settings.load({f"CAPRICCIO_{field.upper()}": text}), field) == value
    assert getattr(Settings.load({}, **arguments), field) == value


def test_arguments_may_be_python_values() -> None:
    settings = Settings.load({}, slice=1, blocked=0.25, only=["socket"], exclude=iter(["select"]))
    assert settings.slice == 1.0
    assert settings.blocked == (0.25, "warn")
    assert settings.only == ("socket",)
    assert settings.exclude == ("select",)


def test_only_nothing_is_not_the_same_as_everything() -> None:
    assert Settings.load({}, only=()).only == ()
    assert Settings.load({}, only=None).only is None


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("sockio", 3, "a name"),
        ("scheduler", "  ", "a name"),
        ("slice", "10ms", "seconds"),
        ("slice", -1, "seconds"),
        ("slice", "nan", "seconds"),
        ("slice", "inf", "seconds"),
        ("blocked", "loud", "off, warn, raise"),
        ("deadlock", "loud", "off, warn or raise"),
        ("blocked", "0.1:loud", "off, warn, raise"),
        ("blocked", "raise:0.1", "off, warn, raise"),
        ("only", 7, "a list of names"),
        ("exclude", [7], "a list of names"),
        ("children", "perhaps", "1 or 0"),
        ("native", ["off", "-curses"], "off, or a list of names"),
        ("processors", 0, "auto, or a whole number from 1 on"),
        ("processors", "many", "auto, or a whole number from 1 on"),
    ],
)
def test_a_bad_argument_says_name_value_and_what_is_allowed(
    field: str, value: object, allowed: str
) -> None:
    arguments: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError, match=allowed) as caught:
        Settings.load({}, **arguments)
    assert f"{field}={value!r}" in str(caught.value)
    assert isinstance(caught.value, CapriccioError)


def test_a_bad_variable_is_named_as_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"CAPRICCIO_SLICE='soon': must be a number of seconds"):
        Settings.load({"CAPRICCIO_SLICE": "soon"})


def test_an_unknown_variable_draws_a_warning_with_the_likely_name() -> None:
    with pytest.warns(CapriccioWarning, match=r"CAPRICCIO_SOCKOI .*CAPRICCIO_SOCKIO\?") as caught:
        settings = Settings.load({"CAPRICCIO_SOCKOI": "poll"})
    assert settings.as_dict() == DEFAULTS
    assert caught[0].filename == __file__


def test_an_unknown_variable_that_resembles_none_draws_the_list() -> None:
    with pytest.warns(CapriccioWarning, match="known are .*CAPRICCIO_SCHEDULER"):
        Settings.load({"CAPRICCIO_": "x"})


def test_known_and_foreign_variables_draw_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings.load({"CAPRICCIO_PATCH": "1", "PATH": "/bin", "CAPRICCIO": "x"})


def test_settings_are_read_only() -> None:
    settings = Settings.load({})
    with pytest.raises(AttributeError):
        settings.sockio = "poll"
    with pytest.raises(AttributeError):
        del settings.sockio
    settings.as_dict()["sockio"] = "poll"
    assert settings.sockio == "auto"


def test_repr_echoes_every_setting() -> None:
    text = repr(Settings.load({}))
    assert all(f"{name}={value!r}" in text for name, value in DEFAULTS.items())


def test_loading_settings_imports_nothing_more(environ: dict[str, str]) -> None:
    program = (
        "import __future__, sys, types\n"
        "package = types.ModuleType('capriccio_patch')\n"  # without what its __init__ imports
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['capriccio_patch'] = package\n"
        "before = set(sys.modules)\n"
        "from capriccio_patch.config import Settings\n"
        "Settings.load({}, sockio='poll')\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    import capriccio_patch

    done = subprocess.run(
        [sys.executable, "-c", program, capriccio_patch.__path__[0]],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['capriccio_patch.config', 'capriccio_patch.errors']\n"
