"""Mutation testing of the code whose mistakes would be the worst: do tests hold every line of it?

    make mutants                      every group, which takes an hour and more
    make mutants GROUPS="guard walk"  some; GROUPS="walk --minutes 10" for so long

mutmut changes one expression at a time in a copy of the sources and runs the tests that reach it; a
mutant that no test kills is alive. Those that no test could kill, because they do the same, are
listed with the reason in `equivalent.toml`. Fails if 15% of a module's tried mutants are alive.
Constants of modules are not mutated, so the tables of addresses are held by their tests alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
PACKAGE, TESTS = "catalog_pipeline", "catalog_pipeline_tests"
MOST_ALIVE = 0.15
MUTMUT = Path(sys.executable).with_name("mutmut")
# The rest (killed, timeout, suspicious, segfault) was noticed.
UNNOTICED = {"survived", "no tests"}
UNTRIED = "not checked"


@dataclass(frozen=True)
class Group:
    """Modules, and the quick tests that are to kill their mutants."""

    modules: Sequence[str]
    tests: Sequence[str]


GROUPS = {
    "guard": Group(
        ["network/addresses", "network/guard", "network/resolver"],
        ["network/test_addresses", "network/test_guard", "network/test_resolver"],
    ),
    "transport": Group(
        ["network/deadlines", "network/transport", "network/pool"],
        ["network/test_deadlines", "network/test_transport", "network/test_pool"],
    ),
    "fetch": Group(["images/download"], ["images/test_download", "images/test_politeness"]),
    "urls": Group(
        ["images/urls", "images/validators"], ["images/test_urls", "images/test_validators"]
    ),
    "pace": Group(
        ["products/pace", "products/redaction", "images/retries", "network/retry_after"],
        [
            "products/test_pace",
            "products/test_redaction",
            "images/test_retries",
            "network/test_retry_after",
        ],
    ),
    "answers": Group(
        ["products/answers", "products/network"],
        [
            "products/test_answers",
            "products/test_network",
            "products/test_http",
            "products/test_redaction",
        ],
    ),
    "retry": Group(
        ["products/http"],
        [
            "products/test_http",
            "products/test_http_bodies",
            "products/test_http_patience",
            "products/test_http_retries",
            "products/test_redaction",
        ],
    ),
    "paging": Group(["products/listing"], ["products/test_listing_ends", "products/test_listing"]),
    "walk": Group(
        ["products/woocommerce_walk"], ["products/test_walk", "products/test_walk_kinds"]
    ),
    "removals": Group(["products/gone", "removals"], ["products/test_gone", "test_removals"]),
    "watermark": Group(
        ["products/reading", "products/process"],
        # Not test_in_step: a failing history is made smaller for minutes, for every mutant.
        ["products/test_reading", "products/test_gone", "products/test_sync"],
    ),
}


@dataclass(frozen=True)
class Mutant:
    """One change, and what became of it; `module` as in `GROUPS`."""

    name: str
    status: str
    change: tuple[str, str] | None = None

    @property
    def module(self) -> str:
        """Where it is."""
        return self.name.removeprefix(f"{PACKAGE}.").rpartition(".")[0].replace(".", "/")

    @property
    def place(self) -> str:
        """Its function, without the number that changes with every edit."""
        return self.name.removeprefix(f"{PACKAGE}.").partition("__mutmut_")[0]


def main() -> int:
    """Run the groups; 1 if too much is alive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--minutes", type=float, help="of each group, the rest is left untried")
    given = parser.parse_args()
    chosen = given.groups or list(GROUPS)
    if unknown := set(chosen) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    # Ignored in what a shell puts into the background, and tests of an interrupt would fail there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = equivalents()
    failed = False
    for name in chosen:
        print(f"{name}: {', '.join(GROUPS[name].modules)}", flush=True)
        mutants = list(tested(GROUPS[name], given.minutes))
        failed = report(GROUPS[name], mutants, known) or failed
    return int(failed)


def equivalents() -> set[tuple[str, str, str]]:
    """Place, line before and line after of each mutant that does the same as the code."""
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    return {(one["place"], one["before"], one["after"]) for one in listed if one["reason"]}


def tested(group: Group, minutes: float | None) -> Iterator[Mutant]:
    """Every mutant of a group, with the change of those that nothing noticed."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        for part in (PACKAGE, TESTS):
            shutil.copytree(
                REPOSITORY / part,
                Path(folder, part),
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        Path(folder, "pyproject.toml").write_text(configuration(group), encoding="utf-8")
        said = _try_mutants(folder, minutes)
        results = _mutmut(folder, "results", "--all", "true").splitlines()
        mutants = [line.strip().rpartition(": ") for line in results if "__mutmut_" in line]
        if all(status == UNTRIED for _, _, status in mutants):
            raise SystemExit(f"mutmut tried nothing:\n{_without_spinner(said)[-4_000:]}")
        for name, _, status in mutants:
            change = _change(folder, name) if status in UNNOTICED else None
            yield Mutant(name, status, change)


def _try_mutants(folder: str, minutes: float | None) -> str:
    # One at a time: tests wait for clocks, and would wait longer beside each other.
    command = [str(MUTMUT), "run", "--max-children", "1"]
    with (
        Path(folder, "said.txt").open("w+", encoding="utf-8") as said,
        subprocess.Popen(
            command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            process.wait(None if minutes is None else minutes * 60)
        except subprocess.TimeoutExpired:
            # It keeps each result as it comes, so nothing is lost.
            os.killpg(process.pid, signal.SIGTERM)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        said.seek(0)
        return said.read()


def _without_spinner(said: str) -> str:
    return re.sub(r"[\u2800-\u28ff] [^\r\n]*[\r\n]*", "", said)


def configuration(group: Group) -> str:
    """The project's own, and what mutmut is to do."""
    settings = {
        # Tests keep things in their modules, and mutmut runs them more than once.
        "process_isolation": "forkserver",
        # Says which test fails where none may.
        "debug": True,
        # Of what the tests take: a mutant that hangs is noticed.
        "timeout_multiplier": 6.0,
        "source_paths": [PACKAGE],
        "only_mutate": [f"{PACKAGE}/{module}.py" for module in group.modules],
        "also_copy": [TESTS],
        # PostgreSQL would have to start for each mutant, and what is mutated costs more.
        "pytest_add_cli_args": [
            *(
                "-q",
                "-p",
                "no:randomly",
                "--hypothesis-seed=1",
                "-k",
                "not postgresql and not costs_less",
            ),
        ],
        "pytest_add_cli_args_test_selection": [f"{TESTS}/{test}.py" for test in group.tests],
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    own = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    return "\n".join([own, "[tool.mutmut]", *lines, ""])


def report(group: Group, mutants: Sequence[Mutant], known: set[tuple[str, str, str]]) -> bool:
    """Print a line for each module and a diff for each mutant alive; whether there are too many."""
    failed = False
    unnoticed = [mutant for mutant in mutants if mutant.change is not None]
    alive = [one for one in unnoticed if (one.place, *(one.change or ())) not in known]
    for module in group.modules:
        made = sum(one.module == module for one in mutants)
        tried = sum(one.module == module and one.status != UNTRIED for one in mutants)
        same = sum(one.module == module for one in unnoticed)
        left = sum(one.module == module for one in alive)
        share = left / tried if tried else 0.0
        failed = failed or share >= MOST_ALIVE
        print(
            f"  {module:26} {tried:4} of {made:4} tried, {same - left:3} equivalent, "
            f"{left:3} alive {share:6.1%}"
        )
    for one in alive:
        before, after = one.change or ("", "")
        print(f"\n  {one.place} ({one.status})\n  - {before}\n  + {after}")
    return failed


def _change(folder: str, name: str) -> tuple[str, str]:
    shown = _mutmut(folder, "show", name).splitlines()

    def lines(sign: str) -> str:
        found = [line for line in shown if line.startswith(sign) and line[:3] != sign * 3]
        return " ".join(line[1:].strip() for line in found)

    return lines("-"), lines("+")


def _mutmut(folder: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(MUTMUT), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
