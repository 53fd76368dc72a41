"""Every command explains itself, with examples that can be typed, and answers in JSON too."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from catalog_pipeline.cli.deployment import STORE
from catalog_pipeline.cli.main import main
from catalog_pipeline.prune import KEEP

# A script for a shell, and a server.
WITHOUT_JSON = {"completion", "ui"}
# None of it answers a question that a shell has.
HEAVY = {"dagster", "pyarrow", "pandas", "torch", "matplotlib"}
_COMPLETIONS = """
import json, sys
from click.shell_completion import ShellComplete
from catalog_pipeline.cli.main import main
shell = ShellComplete(main, {}, "catalog", "_CATALOG_COMPLETE")
found = [
    [item.value for item in shell.get_completions(words, incomplete)]
    for words, incomplete in json.loads(sys.argv[1])
]
print(json.dumps([found, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
_EXAMPLE = re.compile(r"^    catalog (?P<words>[^|>\n]+)", re.MULTILINE)


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield (*above, name), command


COMMANDS = dict(commands(main))
GROUPS = sorted({path[:-1] for path in COMMANDS if len(path) > 1})


def complete(words: list[str], incomplete: str) -> list[str]:
    shell = ShellComplete(main, {}, "catalog", "_CATALOG_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Files that examples read.
    (tmp_path / "dress.jpg").touch()
    command = COMMANDS[path]
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).stdout
    assert command.help
    assert "\n  Examples:\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    examples = _EXAMPLE.findall(shown)
    assert examples
    for example in examples:
        words = shlex.split(example, comments=True)
        assert tuple(words[: len(path)]) == path
        command.make_context(path[-1], words[len(path) :])
    for option in command.params:
        assert isinstance(option, click.Argument) or option.get_help_record(
            click.Context(command)
        ), option.name
    if path[-1] not in WITHOUT_JSON:
        assert "--json" in shown


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_every_group_shows_commands_of_its_own(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "\n  Examples:\n" in shown
    examples = _EXAMPLE.findall(shown)
    assert examples
    for example in examples:
        words = shlex.split(example, comments=True)
        of_group = {known for known in COMMANDS if known[: len(path)] == path}
        (named,) = {known for known in of_group if tuple(words[: len(known)]) == known}
        COMMANDS[named].make_context(named[-1], words[len(named) :])


def test_the_whole_fits_a_terminal_and_lists_every_command() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for name in {path[0] for path in COMMANDS}:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE), name


def test_what_the_whole_says_of_a_command_is_what_it_says_of_itself() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    words = " ".join(shown.split())
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f" {name} {command.get_short_help_str(200)} " in words, name


def test_a_command_mistyped_is_named_right() -> None:
    result = CliRunner().invoke(main, ["serach"])
    assert result.exit_code == 2
    assert "search" in result.stderr


def test_files_are_kept_as_long_as_the_help_says() -> None:
    shown = CliRunner().invoke(main, ["files", "prune", "--help"]).stdout
    assert "without it, a week" in " ".join(shown.split())
    assert timedelta(weeks=1) == KEEP


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_CATALOG_COMPLETE" in result.stdout
    assert "catalog" in result.stdout


@pytest.fixture
def two_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that the test runs in names two stores."""
    monkeypatch.chdir(tmp_path)
    keys = "consumer_key: {env: K}, consumer_secret: {env: S}"
    (tmp_path / "stores.yaml").write_text(
        "stores:\n"
        f"  - {{id: atelier, url: 'https://a.example', {keys}}}\n"
        f"  - {{id: nordhavn, url: 'https://n.example', {keys}}}\n"
    )


@pytest.mark.usefixtures("two_stores")
def test_a_shell_completes_commands_options_and_stores(tmp_path: Path) -> None:
    assert complete([], "sta") == ["status"]
    assert "--sample" in complete(["sync"], "--s")
    assert complete(["sync"], "at") == ["atelier"]
    assert complete(["gate", "preview", "--store"], "") == ["atelier", "nordhavn"]
    (tmp_path / "stores.yaml").write_text("stores: [")
    assert complete(["sync"], "at") == []


@pytest.mark.usefixtures("two_stores")
def test_a_shell_does_not_wait_for_what_it_does_not_ask_about() -> None:
    names = sorted({path[0] for path in COMMANDS})
    asked: list[tuple[list[str], str]] = [([], "")]
    expected = [names]
    for path, command in COMMANDS.items():
        asked.append(([*path], "--help"))
        expected.append(["--help"])
        for given in command.params:
            if given.type is STORE:
                option = given.opts[:1] if isinstance(given, click.Option) else []
                asked.append(([*path, *option], "n"))
                expected.append(["nordhavn"])
    assert len(asked) > 8
    done = subprocess.run(
        [sys.executable, "-c", _COMPLETIONS, json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, modules = json.loads(done.stdout)
    assert found == expected
    assert not HEAVY & set(modules)
