"""Every command explains itself, with examples that can be typed, and answers in JSON too."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from catalog_pipeline.cli.main import main

# Its answer is a script for a shell.
WITHOUT_JSON = {"completion"}
_EXAMPLE = re.compile(r"^    catalog (?P<words>[^|>\n]+)", re.MULTILINE)


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        else:
            yield (*above, name), command


COMMANDS = dict(commands(main))


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


def test_the_whole_fits_a_terminal_and_lists_every_command() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for name in {path[0] for path in COMMANDS}:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE), name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_its_script(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_CATALOG_COMPLETE" in result.stdout
    assert "catalog" in result.stdout


def test_a_shell_completes_commands_options_and_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = "consumer_key: {env: K}, consumer_secret: {env: S}"
    (tmp_path / "stores.yaml").write_text(
        "stores:\n"
        f"  - {{id: atelier, url: 'https://a.example', {keys}}}\n"
        f"  - {{id: nordhavn, url: 'https://n.example', {keys}}}\n"
    )
    assert complete([], "sta") == ["status"]
    assert "--sample" in complete(["sync"], "--s")
    assert complete(["sync"], "at") == ["atelier"]
    assert complete(["gate", "preview", "--store"], "") == ["atelier", "nordhavn"]
    (tmp_path / "stores.yaml").write_text("stores: [")
    assert complete(["sync"], "at") == []
