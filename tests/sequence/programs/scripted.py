"""A language model of a script, and a server that speaks the OpenAI protocol for it."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["QUESTIONS", "Scripted", "Server", "serving"]

# What is asked, the right answer, and the program that the script has for it.
QUESTIONS = [json.loads(line) for line in Path(__file__).with_name("questions.jsonl").read_text("utf-8").splitlines()]


class Scripted:
    """Writes the program that the script has for the last question of a prompt.

    Args:
        needs_examples: questions that it gets wrong unless others are shown solved.
    """

    def __init__(self, needs_examples: Sequence[str] = ()) -> None:
        self.needs_examples, self.prompts = needs_examples, list[str]()

    def write(self, prompt: str, *, stop: Sequence[str] = (), max_tokens: int = 512) -> str:
        self.prompts.append(prompt)
        if "Explain the solution" in prompt:
            return "  First one sets it up, then one computes it.  "
        if "new questions" in prompt:
            return "Here they are:\n1. How many primes are below 100?\n2. what is 3^200 modulo 13\n3. What is 2 + 2?\n"
        asked = prompt.rindex("Question")
        for known in QUESTIONS:
            question, program = known["question"], known["program"]
            if question in prompt[asked:]:
                if question in self.needs_examples and prompt.count("Question") == 1:
                    return "```python\nprint(undefined)\n```"
                return f"Certainly. This computes it:\n```python\n{program}\n```\nI hope this helps."
        return "```python\n2 + 2\n```"


class Server:
    """What a test's server was asked, and what it is to answer.

    Attributes:
        reply: the status, and what is sent as JSON (or as it is, where it is bytes), for a path and a body.
    """

    def __init__(self, reply: Callable[[str, Any], tuple[int, Any]]) -> None:
        self.reply, self.url = reply, ""
        self.asked: list[tuple[str, Any, dict[str, str]]] = []


def chat(model: Scripted) -> Callable[[str, Any], tuple[int, Any]]:
    """Return what answers chat completions in the words of a script."""

    def reply(path: str, body: Any) -> tuple[int, Any]:
        assert path == "/v1/chat/completions", path
        text = model.write(body["messages"][-1]["content"], max_tokens=body["max_tokens"])
        return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}

    return reply


@contextmanager
def serving(reply: Callable[[str, Any], tuple[int, Any]] | Scripted) -> Iterator[Server]:
    """Serve on a free port of this machine for a while."""
    server = Server(chat(reply) if isinstance(reply, Scripted) else reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, body, dict(self.headers)))
            status, answer = server.reply(self.path, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", server.url + "/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

        def log_message(self, *_: Any) -> None:
            return None

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
