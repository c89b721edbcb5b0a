"""What writes programs: the small interface to language models, and the two that there are.

    write(prompt, stop=…, max_tokens=…) → text

`Endpoint` speaks to a server with the OpenAI protocol at an address that the user gives; the key is read from an
environment variable at each request, is sent to that address alone (a redirection ends in an error, and nothing is sent
unencrypted to another machine), and stands in no message, log or file. `Local` is a finished run that completes text.
"""

import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from gradus.errors import GradusError

__all__ = ["Endpoint", "Local", "Writes"]

LONGEST_ANSWER = 1 << 24
SHOWN = 300


@runtime_checkable
class Writes(Protocol):
    """Goes on with a prompt."""

    def write(self, prompt: str, *, stop: Sequence[str] = (), max_tokens: int = 512) -> str: ...


class Endpoint:
    """A language model behind an OpenAI-compatible address.

    Args:
        url: up to and with the version, as `https://api.openai.com/v1` or `http://localhost:8000/v1`.
        model: its name there.
        key_variable: the environment variable that holds the key; empty to send none.
        timeout: seconds to wait for an answer.
        temperature: of the sampling; 0 takes the likeliest.

    Raises:
        GradusError: if the address is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        temperature: float = 0.0,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise GradusError(
                f"--language-model {_plain(url)!r} is no address: give one like https://api.openai.com/v1"
            )
        self.url, self.model, self.key_variable = url.rstrip("/"), model, key_variable
        self.timeout, self.temperature = timeout, temperature
        self._encrypted = parts.scheme == "https" or _is_here(parts.hostname)
        self._opener = urllib.request.build_opener(_Stay)

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r})"

    def write(self, prompt: str, *, stop: Sequence[str] = (), max_tokens: int = 512) -> str:
        """Return what the model answers to a prompt.

        Args:
            prompt: one message of the user's.
            stop: texts at which it ends; at most four.
            max_tokens: longest answer.

        Raises:
            GradusError: if no answer comes, or not one of this protocol.
        """
        asked: dict[str, Any] = {
            "model": self.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens,
            "temperature": self.temperature,
        }  # fmt: skip
        if stop:
            asked["stop"] = list(stop)
        answer = self._post("chat/completions", asked)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise GradusError(f"{self.url} gave no text: it does not speak the OpenAI protocol of chat completions")
        return text

    def embed(self, texts: Sequence[str], *, model: str | None = None) -> list[list[float]]:
        """Return a vector for each text.

        Args:
            texts: some.
            model: one for embeddings, where it is another.

        Raises:
            GradusError: if no vectors come.
        """
        answer = self._post("embeddings", {"model": model or self.model, "input": list(texts)})
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = [[float(value) for value in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError):
            vectors = []
        if len(vectors) != len(texts) or len({len(vector) for vector in vectors}) > 1:
            raise GradusError(f"{self.url} gave no vectors: it does not speak the OpenAI protocol of embeddings")
        return vectors

    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if key and not self._encrypted:
            raise GradusError(
                f"{self.url} is not encrypted, so the key in {self.key_variable} is not sent there: use https, or "
                "--key-variable '' to send none"
            )
        if not key.isascii() or not key.isprintable():
            raise GradusError(f"the key in {self.key_variable} has characters that no key has: set it anew")
        return key

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Send one request; return what the answer holds."""
        key = self._key()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        request = urllib.request.Request(f"{self.url}/{path}", json.dumps(body).encode(), headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                text = answer.read(LONGEST_ANSWER + 1)
        except urllib.error.HTTPError as error:
            raise GradusError(_refusal(self, error, key)) from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            late = isinstance(reason, TimeoutError) or isinstance(error, TimeoutError)
            said = f"gave no answer in {self.timeout:g} seconds" if late else f"cannot be reached ({_one_line(reason)})"
            raise GradusError(f"{self.url} {said}: is a server running there?") from None
        try:
            if len(text) > LONGEST_ANSWER:
                raise ValueError
            return json.loads(text)
        except (ValueError, RecursionError):
            raise GradusError(f"{self.url}/{path} did not answer with JSON: is it the address of an API?") from None


class Local:
    """A finished run that completes text.

    Args:
        product: one that `Completes`.
        temperature: of the sampling; 0 takes the likeliest.
        seed: of the sampling.
    """

    def __init__(self, product: Any, *, temperature: float = 0.0, seed: int = 0) -> None:
        self.product, self.temperature, self.seed = product, temperature, seed

    def __repr__(self) -> str:
        return f"Local({self.product!r})"

    def write(self, prompt: str, *, stop: Sequence[str] = (), max_tokens: int = 512) -> str:
        """Return what the run's model goes on with."""
        settings = {"max_new_tokens": max_tokens, "temperature": self.temperature, "stop": tuple(stop)}
        return "".join(self.product.complete(prompt, seed=self.seed, **settings))


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nobody: a redirected request would take the key to another address."""

    def redirect_request(self, *_: Any) -> None:
        """Make no second request, so that the answer is an error."""


def _refusal(endpoint: Endpoint, error: urllib.error.HTTPError, key: str) -> str:
    """Return what a server's refusal means, with its own words but without the key."""
    with error:
        try:
            text = error.read(1 << 16).decode("utf-8", "replace")
        except OSError:
            text = ""
    try:
        said = json.loads(text)["error"]
        text = said["message"] if isinstance(said, dict) else str(said)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass_on = text.lstrip()[:1] != "<"  # a page for people says nothing here
        text = text if pass_on else ""
    words = _one_line(text.replace(key, "…") if key else text)
    remedies = {
        401: f"put a valid key into {endpoint.key_variable or 'an environment variable, and name it'}",
        403: f"put a key that may use {endpoint.model!r} into {endpoint.key_variable}",
        404: f"check the address and that there is a model {endpoint.model!r}",
        429: "wait, or ask less at once",
    }  # fmt: skip
    remedy = remedies.get(error.code, "see what the server says")
    if 300 <= error.code < 400:
        remedy = "give the address that it redirects to"
    return f"{endpoint.url} refused with status {error.code}{f' ({words})' if words else ''}: {remedy}"


def _is_here(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _plain(url: str) -> str:
    """Return an address without what might be a password."""
    return url.rpartition("@")[2][:SHOWN]


def _one_line(said: object) -> str:
    return " ".join(str(said).split())[:SHOWN]
