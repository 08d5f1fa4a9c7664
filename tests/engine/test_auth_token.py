"""Ray's token is found where Ray looks for it, and its file is closed to other users."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysplit.engine.ray.auth_token import close_to_others, find_token
from raysplit.errors import ClusterError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    return tmp_path


def test_the_variable_comes_before_the_file_that_is_named_and_that_before_the_home_directory(home: Path) -> None:
    file, other = home / ".ray" / "auth_token", home / "other"
    assert find_token({}) == (None, None)
    file.write_text("of the home\n")
    other.write_text("named")
    assert find_token({}) == ("of the home", file)
    assert find_token({"RAY_AUTH_TOKEN_PATH": str(other)}) == ("named", other)
    assert find_token({"RAY_AUTH_TOKEN": "said", "RAY_AUTH_TOKEN_PATH": str(other)}) == ("said", None)
    assert find_token({"RAY_AUTH_TOKEN": "said", "RAY_AUTH_MODE": "disabled"}) == (None, None)


def test_rays_own_loader_finds_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = pytest.importorskip("ray._raylet").AuthenticationTokenLoader.instance()
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    (home / ".ray" / "auth_token").write_text(" spaced \n")
    (home / "other").write_text("named\n")
    try:
        for variables in ({}, {"RAY_AUTH_TOKEN_PATH": str(home / "other")}, {"RAY_AUTH_TOKEN": "said"}):
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            loader.reset_cache()
            assert find_token().text == loader.get_raw_token(ignore_auth_mode=True)
    finally:
        loader.reset_cache()


@pytest.mark.parametrize("content", [None, "", "\xff\xfe"])
def test_a_named_file_that_holds_no_token_is_a_sentence(home: Path, content: str | None) -> None:
    if content is not None:
        (home / "token").write_bytes(content.encode("latin-1"))
    with pytest.raises(ClusterError, match=r"RAY_AUTH_TOKEN_PATH names .*token, which cannot be read \("):
        find_token({"RAY_AUTH_TOKEN_PATH": str(home / "token")})


def test_a_file_that_others_can_read_is_closed_once_and_said(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0o644)
    said = close_to_others(file)
    assert said is not None and "could be read by other users" in said
    assert file.stat().st_mode & 0o777 == 0o600 and close_to_others(file) is None
