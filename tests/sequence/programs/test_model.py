"""Language models behind an address or in a run: what is sent, what is refused, and that the key goes nowhere else."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gradus.errors import GradusError
from gradus.sequence.programs.model import Endpoint, Local, Writes
from sequence.programs.scripted import Scripted, serving

KEY = "sk-secret-0123456789"


def said(text: str) -> tuple[int, Any]:
    return 200, {"choices": [{"message": {"content": text}}]}


def test_a_chat_completion_is_asked_for_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(lambda path, body: said("print(1)")) as server:
        model = Endpoint(server.url + "/", "small")
        assert isinstance(model, Writes)
        assert model.write("question", stop=("END",), max_tokens=7) == "print(1)"
    path, body, headers = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "small", "messages": [{"role": "user", "content": "question"}], "max_tokens": 7, "temperature": 0.0,
        "stop": ["END"],
    }  # fmt: skip


def test_no_key_is_sent_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(lambda path, body: said("x")) as server:
        Endpoint(server.url, "small").write("q")
    assert "Authorization" not in server.asked[0][2]
    assert "stop" not in server.asked[0][1]


def test_the_key_stands_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    with serving(lambda path, body: (401, echo)) as server:
        model = Endpoint(server.url, "small", key_variable="MY_KEY")
        with pytest.raises(GradusError, match=r"status 401.*MY_KEY") as caught:
            model.write("q")
    assert "Incorrect API key" in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(model)
    assert KEY not in str(vars(model))


def test_a_redirection_takes_the_key_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for status in (301, 302, 303, 307, 308):
        with serving(lambda path, body, status=status: (status, b"")) as server:
            with pytest.raises(GradusError, match="redirects to"):
                Endpoint(server.url, "small").write("q")
            assert len(server.asked) == 1


def test_the_key_is_not_sent_unencrypted_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(GradusError, match="not encrypted"):
        Endpoint("http://192.0.2.1/v1", "small").write("q")


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ((404, {"error": {"message": "no such model"}}), "no such model.*there is a model 'small'"),
        ((429, {"error": "slow down"}), "slow down.*ask less"),
        ((500, b"<html>page</html>"), "status 500: see"),
        ((200, b"<html>"), "did not answer with JSON"),
        ((200, b"[" * 200_000), "did not answer with JSON"),
        ((200, {"choices": []}), "does not speak"),
        ((200, {"choices": [{"message": {"content": None}}]}), "does not speak"),
        ((200, [1]), "does not speak"),
    ],
)
def test_what_is_no_answer_is_told_in_one_sentence(answer: Any, match: str) -> None:
    with (
        serving(lambda path, body: answer) as server,
        pytest.raises(GradusError, match=match),
    ):
        Endpoint(server.url, "small", key_variable="").write("q")


def test_a_server_that_is_not_there_or_silent() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(GradusError, match=r"cannot be reached.*is a server running"):
            Endpoint(url, "small", key_variable="").write("q")
        silent.listen()
        with pytest.raises(GradusError, match=r"no answer in 0\.2 seconds"):
            Endpoint(url, "small", key_variable="", timeout=0.2).write("q")


@pytest.mark.parametrize("url", ["ftp://host/v1", "host", "http://", "http://me:pass@host/v1", "http://host/v1?key=1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(GradusError, match="is no address") as caught:
        Endpoint(url, "small")
    assert "pass" not in str(caught.value)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    rows = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    with serving(lambda path, body: (200, {"data": rows})) as server:
        assert Endpoint(server.url, "small", key_variable="").embed(["a", "b"]) == [[1.0, 0.0], [0.0, 1.0]]
        with pytest.raises(GradusError, match="no vectors"):
            Endpoint(server.url, "small", key_variable="").embed(["a"])
    assert server.asked[0][:2] == ("/v1/embeddings", {"model": "small", "input": ["a", "b"]})


def test_a_run_that_completes_text_writes_too() -> None:
    class Product:
        def complete(self, prompt: str, **settings: Any) -> Iterator[str]:
            yield from (prompt, "!", str(settings["max_new_tokens"]), str(settings["stop"]))

    model = Local(Product())
    assert isinstance(model, Writes)
    assert model.write("a", stop=["b"], max_tokens=3) == "a!3('b',)"


def test_the_script_writes() -> None:
    assert isinstance(Scripted(), Writes)
