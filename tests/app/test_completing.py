"""`gradus complete` from the command line: streams, one JSON object, standard input, clear refusals."""

import io
import sys

import pytest

from gradus.app.cli import main
from gradus.app.completing import Complete

LINE = "abcdefghijklmnopqrstuvwxyz \n"
SHORT = ["--max-new-tokens", "30"]
SETTINGS = ["--context", "16", "--batch-size", "16", "--set", "layers=1", "width=32"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a small language model of one line, again and again."""
    home = tmp_path_factory.mktemp("completing")
    (home / "text.txt").write_text(LINE * 200)
    words = ["train", "sequence/language-model", "--model", "gpt", "--data", str(home / "text.txt"), *SETTINGS]
    assert main([*words, "--max-steps", "120", "--name", "lines", "--runs-dir", str(home), "--quiet"]) == 0
    return home / "lines"


def test_the_completion_is_written_as_it_is(run, cli):
    found = cli("complete", run, "abc", "--temperature", 0, "--max-new-tokens", 12)
    assert (found.code, found.err, found.out) == (0, "", "defghijklmno\n")
    data = cli("complete", run, "abc", "--temperature", 0, "--max-new-tokens", 12, "--json").json
    assert data == {"run": str(run), "prompt": "abc", "completion": "defghijklmno", "tokens": 12}


def test_pieces_are_written_as_they_come(run, monkeypatch):
    class Out(io.StringIO):
        written: list[str] = []  # noqa: RUF012

        def write(self, text):
            self.written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Out())
    answer = Complete(run=str(run), prompt="abc", max_new_tokens=6, temperature=0.0)()
    assert [len(piece) for piece in Out.written if piece] == [1] * 7
    assert "".join(Out.written) == answer.data["completion"] + "\n"
    assert answer.text == ""


def test_a_prompt_from_standard_input(run, cli, monkeypatch):
    whole = cli("complete", run, "fgh", *SHORT, "--json").json
    monkeypatch.setattr(sys, "stdin", io.StringIO("fgh"))
    assert cli("complete", run, "-", *SHORT, "--json").json == whole
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xff"), encoding="utf-8"))
    refused = cli("complete", run, "-")
    assert refused.code == 2
    assert "UTF-8" in refused.err


def test_without_a_prompt_a_text_begins(run, cli):
    found = cli("complete", run, "--temperature", 0, "--max-new-tokens", 4, "--json").json
    assert found["prompt"] == ""
    assert found["completion"] == "abcd"
    assert cli("complete", run, "", "--temperature", 0, "--max-new-tokens", 4, "--json").json == found


def test_the_seed_decides_and_settings_reach_the_model(run, cli):
    draw = lambda *flags: cli("complete", run, "cab", "--temperature", 3, *SHORT, "--json", *flags).json["completion"]
    assert draw("--seed", 1) == draw("--seed", 1) != draw("--seed", 2)
    greedy = draw("--temperature", 0)
    assert draw("--top-k", 1) == draw("--top-p", 1e-6) == greedy
    assert draw("--top-k", 1, "--repetition-penalty", 50) != greedy


def test_it_ends_before_any_stop_string(run, cli):
    for flags in (["--stop", "xyz", "klm"], ["--stop", "xyz", "--stop", "klm"]):
        found = cli("complete", run, "abc", "--temperature", 0, *SHORT, "--json", *flags).json["completion"]
        assert found == "defghij"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [(["--temperature", "-1"], "temperature"), (["--top-k", "0"], "top_k"), (["--top-p", "2"], "top_p"),
     (["--max-new-tokens", "0"], "max_new_tokens"), (["--repetition-penalty", "0"], "repetition_penalty"),
     (["--stop", ""], "empty stop"), (["--topp", "1"], "--top-p"), (["--seed", "x"], "whole number")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(run, cli, flags, sentence):
    refused = cli("complete", run, "abc", *flags)
    assert refused.code == 2
    assert sentence in refused.err
    assert refused.out == ""


def test_characters_never_seen_are_named(run, cli):
    refused = cli("complete", run, "abc ξ")
    assert refused.code == 2
    assert "'ξ'" in refused.err


def test_a_run_that_completes_nothing_says_what_it_can(trained, cli):
    refused = cli("complete", trained, "the")
    assert refused.code == 2
    assert "not complete" in refused.err
