"""Pins of other systems: resolved where there is a network, and refused in words where not."""

import pytest
import requests

from tests import wheels

REASON = wheels.why_not()
needs_index = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def test_names_are_compared_in_their_normal_form():
    lines = ["PyYAML==6.0.3", "antlr4_python3.runtime==4.9.3", "nobody-has-this==1.0"]
    pinned = {wheels.name_of(line) for line in lines[:2]}
    assert pinned == {"pyyaml", "antlr4-python3-runtime"}
    assert wheels.unpinned([lines[0], lines[2]]) == [lines[2]]


def test_what_is_resolved_is_what_the_course_installs():
    declared = [wheels.name_of(line) for line in wheels.declared()]
    assert {"torch", "bitsandbytes", "pytest", "dvc"} <= set(declared)
    assert "ray" not in declared, "an extra that make lab does not install"


def test_without_uv_or_network_it_is_said_in_words(monkeypatch, capsys):
    def unreachable(*args, **settings):
        raise requests.ConnectionError

    monkeypatch.setattr(wheels, "uv_command", lambda: ["uv"])
    monkeypatch.setattr(wheels.requests, "head", unreachable)
    assert wheels.main() == 2
    assert "package index, which can't be reached" in capsys.readouterr().err
    monkeypatch.setattr(wheels, "uv_command", lambda: None)
    assert wheels.main() == 2
    assert "needs uv: python -m pip install uv" in capsys.readouterr().err


def test_a_missing_wheel_and_a_missing_pin_fail_the_command(monkeypatch, capsys):
    def resolve(platform, python):
        if platform == "win_amd64":
            raise ValueError(f"{platform}, Python {python}: no wheel")
        return ["nobody-has-this==1.0"]

    monkeypatch.setattr(wheels, "why_not", lambda: None)
    monkeypatch.setattr(wheels, "resolve", resolve)
    assert wheels.main() == 1
    said = capsys.readouterr().out
    assert said.count("no wheel") == len(wheels.PYTHONS)
    assert said.count("without a pin: nobody-has-this==1.0") == len(wheels.PYTHONS)


@pytest.mark.network
@needs_index
@pytest.mark.parametrize("python", wheels.PYTHONS)
@pytest.mark.parametrize("platform", wheels.PLATFORMS)
def test_the_pins_have_wheels_on_other_systems(platform, python):
    assert wheels.unpinned(wheels.resolve(platform, python)) == []


@pytest.mark.network
@needs_index
def test_a_package_of_linux_alone_is_refused_with_its_name():
    with pytest.raises(ValueError, match="win_amd64.*nvidia-nccl-cu12"):
        wheels.resolve("win_amd64", "3.12", ["nvidia-nccl-cu12==2.21.5"], constraints="# none")
