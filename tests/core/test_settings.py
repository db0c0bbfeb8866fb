import os

import pytest
from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from covey_core.errors import SettingsInvalid
from covey_core.settings import CoveySettings, SecretFromFile, TextList, load_settings


class LampSettings(CoveySettings):
    model_config = SettingsConfigDict(env_prefix="COVEY_RELAY_")

    listen: TextList = ()
    slots: int = Field(default=4, ge=1, le=10)
    operator: str = "nobody"
    secret_file: SecretFromFile | None = None


class StrictSettings(CoveySettings):
    model_config = SettingsConfigDict(env_prefix="COVEY_NODE_")

    home: str
    slots: int


@pytest.fixture(autouse=True)
def _no_covey_variables(monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith("COVEY_"):
            monkeypatch.delenv(name)


def problems(monkeypatch, cls=LampSettings, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(cls)
    return str(caught.value).split("\n")[1:]


def test_without_variables_the_defaults_stand():
    settings = load_settings(LampSettings)
    assert (settings.listen, settings.slots, settings.operator) == ((), 4, "nobody")


@pytest.mark.parametrize("text", ["/a/b,/c", " /a/b , /c ,", '["/a/b", "/c"]'])
def test_a_list_is_separated_by_commas_or_written_in_json(monkeypatch, text):
    monkeypatch.setenv("COVEY_RELAY_LISTEN", text)
    assert load_settings(LampSettings).listen == ("/a/b", "/c")


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch):
    for name in ("LISTEN", "SLOTS", "OPERATOR", "SECRET_FILE"):
        monkeypatch.setenv(f"COVEY_RELAY_{name}", "")
    assert load_settings(LampSettings) == LampSettings()


def test_settings_do_not_change_after_the_start():
    settings = load_settings(LampSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.slots = 5


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("COVEY_RELAY_LISTN", "did you mean COVEY_RELAY_LISTEN?"),
        ("COVEY_RELAY_SLOT", "did you mean COVEY_RELAY_SLOTS?"),
        ("COVEY_REALY_SLOTS", "did you mean COVEY_RELAY_SLOTS?"),
        ("COVEY_PUBLIC_ADR", "did you mean COVEY_PUBLIC_ADDR?"),
        ("covey_relay_slotz", "did you mean COVEY_RELAY_SLOTS?"),
        ("COVEY_Q", "this component reads COVEY_RELAY_* variables"),
    ],
)
def test_a_misspelt_variable_is_an_error_that_says_what_was_meant(monkeypatch, name, hint):
    assert problems(monkeypatch, **{name: "1"}) == [f"  {name}: no such setting; {hint}"]


def test_a_misspelt_variable_is_noticed_also_when_it_is_empty(monkeypatch):
    assert len(problems(monkeypatch, COVEY_RELAY_LISTN="")) == 1


@pytest.mark.parametrize(
    "name",
    [
        "COVEY_PUBLIC_ADDR", "COVEY_HOME", "COVEY_E2E_RUNS", "COVEY_TEST_ANYTHING", "COVEY_NODE_HOME",
        "COVEY_BOOTSTRAP_LISTEN", "OTHER_VARIABLE",
        # what Kubernetes sets in every pod beside a service named covey-relay
        "COVEY_RELAY_SERVICE_HOST", "COVEY_RELAY_SERVICE_PORT", "COVEY_RELAY_SERVICE_PORT_P2P", "COVEY_RELAY_PORT",
        "COVEY_RELAY_PORT_4001_TCP", "COVEY_RELAY_PORT_4001_TCP_ADDR", "COVEY_RELAY_PORT_4001_UDP_PROTO",
    ],
)  # fmt: skip
def test_variables_of_others_are_let_be(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    assert load_settings(LampSettings) == LampSettings()


def test_all_problems_are_named_at_once_one_a_line(monkeypatch):
    lines = problems(
        monkeypatch,
        COVEY_RELAY_SLOTS="many",
        COVEY_RELAY_LISTEN="[1, ",
        COVEY_RELAY_OPERATER="Ann",
        COVEY_RELAY_SECRET_FILE="/nowhere/secret",
    )
    assert lines == [
        "  COVEY_RELAY_OPERATER: no such setting; did you mean COVEY_RELAY_OPERATOR?",
        "  COVEY_RELAY_LISTEN: this begins like a JSON list and is none",
        "  COVEY_RELAY_SLOTS: Input should be a valid integer, unable to parse string as an integer",
        "  COVEY_RELAY_SECRET_FILE: /nowhere/secret: No such file or directory. Check the path; its folder must exist.",
    ]


def test_a_value_out_of_its_bounds_is_named_with_the_bound(monkeypatch):
    assert problems(monkeypatch, COVEY_RELAY_SLOTS="11") == [
        "  COVEY_RELAY_SLOTS: Input should be less than or equal to 10"
    ]


def test_a_missing_setting_is_named(monkeypatch):
    assert problems(monkeypatch, StrictSettings, COVEY_NODE_SLOTS="1") == ["  COVEY_NODE_HOME: must be set"]


def test_settings_that_do_not_fit_together_are_said_without_a_name(monkeypatch):
    class Pair(LampSettings):
        @model_validator(mode="after")
        def _fits(self):
            raise ValueError("give a listen address for every slot")

    assert problems(monkeypatch, Pair, COVEY_RELAY_SLOTS="2") == ["  give a listen address for every slot"]


def test_a_secret_comes_from_a_file_and_does_not_show(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    path.write_text("correct horse \n")
    path.chmod(0o600)
    monkeypatch.setenv("COVEY_RELAY_SECRET_FILE", str(path))
    settings = load_settings(LampSettings)
    assert settings.secret_file is not None
    assert settings.secret_file.get_secret_value() == "correct horse "
    assert "horse" not in repr(settings)


@pytest.mark.parametrize(("data", "mode", "words"), [
    (b"hunter2", 0o644, "chmod 600"), (b"", 0o600, "empty"), (b"\n", 0o600, "empty"), (b"\xff\xfe", 0o600, "UTF-8"),
])  # fmt: skip
def test_a_secret_file_that_cannot_be_used_says_why_and_not_what_is_in_it(monkeypatch, tmp_path, data, mode, words):
    path = tmp_path / "file"
    path.write_bytes(data)
    path.chmod(mode)
    [line] = problems(monkeypatch, COVEY_RELAY_SECRET_FILE=str(path))
    assert words in line
    assert "hunter2" not in line


def test_a_wrong_value_is_not_repeated_in_the_message(monkeypatch):
    [line] = problems(monkeypatch, COVEY_RELAY_SLOTS="hunter2")
    assert "hunter2" not in line


def test_a_component_may_name_variables_that_it_reads_elsewhere(monkeypatch):
    class Knowing(LampSettings):
        also_known = frozenset({"COVEY_RELAY_PLACE"})

    monkeypatch.setenv("COVEY_RELAY_PLACE", "attic")
    assert load_settings(Knowing).slots == 4
