"""Where the server's settings come from, and what is refused: the command up to the start of the server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from voxwire import cli
from voxwire.server import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "sk_car_never_shown"


class Started(NamedTuple):
    settings: Settings
    reread: Any


class Refused(NamedTuple):
    line: str


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Calls ``voxwire serve``; in the place of the server stands what it would be started with."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, file: str | None = None, **environment: str) -> Started | Refused:
        started: list[Started] = []
        monkeypatch.setattr(
            sys.modules["voxwire.cli.serve"],
            "run",
            lambda settings, reread: started.append(Started(settings, reread)) or 0,
        )
        if file is not None:
            (tmp_path / "serve.toml").write_text(file)
            arguments = (*arguments, "--config", "serve.toml")
        for name, value in environment.items():
            monkeypatch.setenv(f"VOXWIRE_SERVE_{name}", value)
        monkeypatch.setattr(sys, "argv", ["voxwire", "serve", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        for name in environment:
            monkeypatch.delenv(f"VOXWIRE_SERVE_{name}")
        out, err = capsys.readouterr()
        assert out == ""
        assert SECRET not in err
        if started:
            assert (ended.value.code, err) == (0, "")
            return started[0]
        assert ended.value.code == 2
        (line,) = err.splitlines()
        assert line.startswith("voxwire: ")
        return Refused(line)

    return call


class TestPrecedence:
    def test_flag_environment_file_default(self, serve):
        file = "port = 3\ndrain_s = 3\nidle_timeout_s = 3\n"
        settings = serve("--port", "1", file=file, PORT="2", DRAIN_S="2").settings
        assert (settings.port, settings.drain_s, settings.idle_timeout_s) == (1, 2, 3)
        assert settings.context_expiry_s == Settings().context_expiry_s

    def test_what_is_overridden_is_not_looked_at(self, serve):
        assert serve("--port", "1", file="port = 'x'\n", PORT="y").settings.port == 1

    def test_an_empty_variable_says_nothing(self, serve):
        assert serve(PORT="", API_KEY="").settings == Settings()

    def test_the_environment_sets_what_is_no_flag(self, serve):
        settings = serve(
            SEND_QUEUE_BYTES="65536",
            SLOW_READER_S="2.5",
            QUEUE_WAIT_S="0",
            UNKNOWN_VOICE="default",
            MODELS="mine family-*",
            LANGUAGES="en DE-at",
            MAX_CONNECTIONS="7",
        ).settings
        assert (settings.send_queue_bytes, settings.slow_reader_s, settings.queue_wait_s) == (65536, 2.5, 0)
        assert (settings.unknown_voice, settings.max_connections) == ("default", 7)
        assert (settings.models, settings.languages) == (("mine", "family-*"), ("en", "de-AT"))

    def test_lists_and_options(self, serve):
        for started in [
            serve("--api-key", "a", "--api-key", "b", "--engine-option", "x=1=2", "--allow-origin", "*"),
            serve(API_KEY="a b", ENGINE_OPTION="x=1=2", ALLOW_ORIGIN="*"),
            serve(file='api_key = ["a", "b"]\nallow_origin = ["*"]\nengine_option = {x = "1=2"}\n'),
            serve(file='api_key = ["a", "b"]\nallow_origin = ["*"]\nengine_option = ["x=1=2"]\n'),
        ]:
            assert started.settings.api_keys == ("a", "b")
            assert started.settings.allow_origin == ("*",)
            assert started.settings.engine_options == {"x": "1=2"}

    @pytest.mark.parametrize(("text", "meant"), [("1", True), ("true", True), ("off", False), ("0", False)])
    def test_switches_of_the_environment(self, serve, text, meant):
        assert serve(CANCEL_DONE=text).settings.cancel_done is meant

    def test_the_file_may_be_named_by_the_environment(self, serve, tmp_path):
        (tmp_path / "other.toml").write_text("port = 5\n")
        assert serve(CONFIG="other.toml").settings.port == 5
        assert serve(CONFIG="other.toml", file="port = 6\n").settings.port == 6

    def test_it_is_read_anew_with_the_same_flags(self, serve, tmp_path):
        started = serve("--port", "1", file='port = 2\napi_key = "first"\n')
        (tmp_path / "serve.toml").write_text('port = 3\napi_key = "second"\n')
        anew = started.reread()
        assert (anew.port, anew.api_keys) == (1, ("second",))
        (tmp_path / "serve.toml").write_text(f'api_key = ["{SECRET} "]\n')
        with pytest.raises(ConfigurationError, match=r"serve\.toml: api_key\.0") as caught:
            started.reread()
        assert SECRET not in str(caught.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("file", "words"),
        [
            ("prot = 1", ("serve.toml", "unknown key 'prot'", "did you mean 'port'")),
            ("api_keys = []", ("unknown key 'api_keys'", "did you mean 'api_key'")),
            ("zzz = 1", ("unknown key 'zzz'",)),
            ("config = 'x'", ("unknown key 'config'",)),
            ("port = ", ("serve.toml", "line 1")),
            ("port = 1\nport = 2", ("serve.toml", "line 2")),
            ("\n\nhost == 'x'", ("serve.toml", "line 3")),
            ("port = '80'", ("serve.toml: port", "integer")),
            ("port = 80.5", ("serve.toml: port", "integer")),
            ("port = true", ("serve.toml: port", "integer")),
            ("host = 5", ("serve.toml: host", "string")),
            ("cancel_done = 'yes'", ("serve.toml: cancel_done", "boolean")),
            ("cancel_done = 1", ("serve.toml: cancel_done", "boolean")),
            ("drain_s = '3'", ("serve.toml: drain_s", "number")),
            ("drain_s = inf", ("serve.toml: drain_s", "finite")),
            ("idle_timeout_s = nan", ("serve.toml: idle_timeout_s", "finite")),
            ("idle_timeout_s = 0", ("serve.toml: idle_timeout_s", "greater than 0")),
            ("idle_timeout_s = 1e9", ("serve.toml: idle_timeout_s", "86400")),
            ("port = 65536", ("serve.toml: port", "65535")),
            ("workers = 0", ("serve.toml: workers", "1")),
            ("concurrency = 0", ("serve.toml: concurrency", "greater than 0")),
            ("send_queue_bytes = 10", ("serve.toml: send_queue_bytes", "65536")),
            ("unknown_voice = 'maybe'", ("serve.toml: unknown_voice", "'error' or 'default'")),
            ("languages = ['english']", ("serve.toml: languages.0", "en-US")),
            ("models = 'sonic'", ("serve.toml: models", "array")),
            ("voices = ['x']", ("serve.toml: voices", "object")),
            ("[voices]\nanna = 3", ("serve.toml: voices.anna", "string")),
            ("api_key = 5", ("serve.toml: api_key",)),
            (f"api_key = ['{SECRET}', 5]", ("serve.toml: api_key.1",)),
            (f"api_key = '{SECRET} with blanks'", ("serve.toml: api_key.0", "without blanks")),
            (f"api_key = '{SECRET}\\n'\nno_auth = {SECRET}", ("serve.toml", "line 2")),
            ("api_key = ''", ("serve.toml: api_key.0",)),
            ("engine_option = 'x'", ("serve.toml: engine_option", "K=V")),
            ("engine_option = ['x=1', 'x=2']", ("serve.toml: engine_option", "once")),
            ("tls_cert = 'a'\ntls_key = 'b'", ("tls_cert", "there is no file a")),
        ],
    )
    def test_in_the_file(self, serve, file, words):
        line = serve(file=file).line
        for word in words:
            assert word in line

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({"PORT": "x"}, ("VOXWIRE_SERVE_PORT", "integer")),
            ({"DRAIN_S": "nan"}, ("VOXWIRE_SERVE_DRAIN_S", "finite")),
            ({"CANCEL_DONE": "maybe"}, ("VOXWIRE_SERVE_CANCEL_DONE", "boolean")),
            ({"PROT": "1"}, ("VOXWIRE_SERVE_PROT", "did you mean 'VOXWIRE_SERVE_PORT'")),
            ({"VOICES": "a"}, ("VOXWIRE_SERVE_VOICES", "table")),
            ({"ENGINE_OPTION": "x"}, ("VOXWIRE_SERVE_ENGINE_OPTION", "K=V")),
            ({"CONFIG": "absent.toml"}, ("absent.toml", "no such file")),
            ({"API_KEY": f"{SECRET}é"}, ("VOXWIRE_SERVE_API_KEY", "ASCII")),
        ],
        ids=str,
    )
    def test_in_the_environment(self, serve, environment, words):
        line = serve(**environment).line
        for word in words:
            assert word in line

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--port", "70000"), ("--port", "65535")),
            (("--port", "x"), ("--port",)),
            (("--workers", "0"), ("--workers",)),
            (("--idle-timeout-s", "nan"), ("--idle-timeout-s", "finite")),
            (("--engine", ""), ("--engine",)),
            (("--engine-option", "x"), ("--engine-option", "K=V")),
            (("--config", "absent.toml"), ("--config", "absent.toml", "no such file")),
            (("--config", "."), ("--config", "directory")),
            (("--prot", "1"), ("--prot", "--port")),
            (("--api-key", f"{SECRET} x"), ("--api-key.0", "blanks")),
            (("--host", "0.0.0.0"), ("--api-key", "--no-auth")),
            (("--host", "0.0.0.0", "--api-key", SECRET), ("--tls-cert", "--allow-plain")),
            (("--no-auth", "--api-key", SECRET), ("--no-auth", "contradicts")),
            (("--tls-cert", "a.pem"), ("--tls-cert", "--tls-key", "together")),
        ],
        ids=str,
    )
    def test_of_flags_and_their_combinations(self, serve, arguments, words):
        line = serve(*arguments).line
        for word in words:
            assert word in line

    def test_of_a_file_that_is_no_text(self, serve, tmp_path):
        (tmp_path / "binary.toml").write_bytes(b"port = 1 # \xff")
        assert "binary.toml" in serve("--config", "binary.toml").line

    def test_combinations_over_the_sources(self, serve):
        assert "serve.toml: no_auth: contradicts" in serve(file="no_auth = true\n", API_KEY=SECRET).line
        assert serve("--allow-plain", file=f"api_key = '{SECRET}'\n", HOST="0.0.0.0").settings.allow_plain


class TestSecrets:
    def test_in_no_representation(self, serve):
        settings = serve(API_KEY=SECRET).settings
        assert settings.api_keys == (SECRET,)
        for text in (repr(settings), str(settings), f"{settings}"):
            assert SECRET not in text

    def test_in_no_help(self, monkeypatch, capsys):
        monkeypatch.setenv("VOXWIRE_SERVE_API_KEY", SECRET)
        monkeypatch.setattr(sys, "argv", ["voxwire", "serve", "--help"])
        with pytest.raises(SystemExit):
            cli.main()
        assert SECRET not in "".join(capsys.readouterr())

    def test_unknown_names_in_a_program(self):
        with pytest.raises(ConfigurationError, match=r"unknown setting 'prot', did you mean 'port'\?"):
            Settings.make(prot=1)
