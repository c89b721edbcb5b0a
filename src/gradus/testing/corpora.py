"""The contract of registered corpora, as checks that need no test framework: an AssertionError says what broke.

A corpus passes when its documents hold text, as many characters as they say, the same at every reading; when its
fingerprint is that of its content; and when it can be divided so that nothing is in two parts and nothing is lost.
"""

from collections.abc import Callable

from gradus.data.corpora import NamedCorpus, divided

__all__ = ["check_corpus"]

SHARES = {"val": 0.1, "test": 0.1}


def check_corpus(make: Callable[[], NamedCorpus]) -> None:
    """Run the whole contract on a corpus.

    Args:
        make: returns the corpus.

    Raises:
        AssertionError: for the first clause that fails.
    """
    corpus, again = make(), make()
    assert corpus.documents, "it has no documents"
    for document in corpus.documents:
        text = "".join(document.chunks())
        assert text.strip(), "a document is empty"
        assert "\0" not in text, "a document holds a zero byte: that is no text"
        assert len(text) == document.characters, f"a document has {len(text)} characters, not {document.characters}"
        assert "".join(document.chunks()) == text, "reading a document twice gives two texts"
    assert corpus.fingerprint, "it has no fingerprint"
    assert corpus.fingerprint == again.fingerprint, "making it twice gives two fingerprints"
    marks = [document.mark for document in corpus.documents]
    assert marks == [document.mark for document in again.documents], "making it twice gives other documents"
    texts = {document.mark: "".join(document.chunks()) for document in corpus.documents}
    assert len(set(texts.values())) == len(texts), "equal documents have different marks"
    for document in corpus.documents:
        assert texts[document.mark] == "".join(document.chunks()), "different documents have one mark"
    assert corpus.test_share is None or 0 < corpus.test_share < 1, "its test leaves nothing to train on"
    parts = divided(corpus, SHARES, seed=0)
    assert all(parts.values()), f"nothing is in {next((part for part, spans in parts.items() if not spans), '')}"
    seen = sorted((span.document.mark, span.first, span.last) for spans in parts.values() for span in spans)
    total = sum(document.characters for document in corpus.documents)
    assert sum(last - first for _, first, last in seen) == total, "dividing it loses text, or gives some twice"
