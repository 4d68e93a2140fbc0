"""How the tests come by the emulators that are no packages of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import emulator_installs, emulators


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The emulators' folders, both of them absent."""
    made = [tmp_path / "ministack", tmp_path / "fauxqs"]
    monkeypatch.setattr(emulator_installs, "MINISTACK_FOLDER", made[0])
    monkeypatch.setattr(emulator_installs, "FAUXQS_FOLDER", made[1])
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is installed, instead of installing it."""
    done: list[str] = []
    for name in ("ministack", "fauxqs"):

        def install(*_: object, name: str = name) -> None:
            done.append(name)

        monkeypatch.setattr(emulator_installs, f"_install_{name}", install)
    return done


def node_that_says(version: str, folder: Path) -> Path:
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho v{version}\n", encoding="utf-8")
    node.chmod(0o755)
    return node


def test_what_is_installed_is_left_alone(folders: list[Path], installed: list[str]) -> None:
    emulator_installs.main()
    emulator_installs.main()
    assert installed == ["ministack", "fauxqs"]


def test_an_install_that_broke_off_is_begun_anew(
    folders: list[Path], installed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = folders[0] / "half"

    def break_off() -> None:
        half.touch()
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(emulator_installs, "_install_ministack", break_off)
        with pytest.raises(OSError, match="no space"):
            emulator_installs.main()
    assert not emulator_installs.is_installed(folders[0])
    emulator_installs.main()
    assert installed == ["ministack", "fauxqs"]
    assert not half.exists()


def test_the_packaged_node_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    node_that_says("99.0.0", tmp_path)
    found = emulator_installs.find_node()
    assert found is not None
    assert found.parent != tmp_path


@pytest.mark.parametrize(
    ("version", "usable"), [("20.20.2", False), ("22.4.9", False), ("22.5.0", True), ("9.9", False)]
)
def test_the_systems_node_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    monkeypatch.setattr(emulator_installs, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert emulator_installs.find_node() is None
    node = node_that_says(version, tmp_path)
    assert emulator_installs.find_node() == (node if usable else None)


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", RuntimeError)])
def test_without_node_fauxqs_is_skipped_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(emulator_installs, "find_node", lambda: None)
    # Either is caught: a skip that escaped would skip this test instead of failing it.
    with pytest.raises((RuntimeError, pytest.skip.Exception), match="needs Node") as caught:
        emulators.fauxqs_server()
    assert caught.type is outcome


@pytest.mark.parametrize("server", [emulators.ministack_server, emulators.fauxqs_server])
def test_an_emulator_that_is_not_installed_is_an_error_and_no_skip(
    folders: list[Path], server: object
) -> None:
    assert callable(server)
    with pytest.raises(RuntimeError, match=r"python -m tests\.emulator_installs"):
        server()


def test_an_emulator_that_does_not_start_says_what_it_said() -> None:
    with (
        pytest.raises(RuntimeError, match="out of order"),
        emulators._running(["sh", "-c", "echo out of order >&2"]),
    ):
        pytest.fail("it did start")
