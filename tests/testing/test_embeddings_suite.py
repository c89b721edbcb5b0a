"""`check_embedding` passes every registered way to word vectors, and rejects each of a family of planted bugs."""

import pytest
import torch

from gradus import canon
from gradus.sequence.embedding.full_softmax import FullSoftmax
from gradus.sequence.embedding.global_vectors import GlobalVectors
from gradus.sequence.embedding.skip_gram import SkipGram, WordTable
from gradus.testing.embeddings import check_embedding

NAMES = sorted(canon.names("embedding"))


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_embedding_keeps_the_contract(name):
    check_embedding(canon.find("embedding", name))


def test_the_registry_knows_embeddings():
    assert {"sgns", "skipgram", "cbow", "fasttext", "glove"} <= set(NAMES)


def built(kind, inputs=WordTable):
    def build(vocabulary, *, vector_size=8, negative=3, generator=None):
        words = len(vocabulary.words)
        if kind.__mro__[1] is GlobalVectors:
            return kind(words, vector_size, 100.0, 0.75, generator)
        table = inputs(words, vector_size, generator)
        more = () if kind.__mro__[1] is FullSoftmax else (negative,)
        return kind(table, words, vector_size, *more)

    return build


class Ascends(SkipGram):
    def objective(self, batch):
        return -super().objective(batch)

    def gradients(self, batch):
        return [g._replace(values=-g.values) for g in super().gradients(batch)]


class ForgetsNoise(SkipGram):
    def gradients(self, batch):
        return super().gradients(batch._replace(noise=batch.noise[:, :0]))


class ForgetsOutputs(SkipGram):
    def gradients(self, batch):
        return super().gradients(batch)[:1]


class CountsARowOnce(SkipGram):
    def gradients(self, batch):
        once = []
        for g in super().gradients(batch):
            rows, places = g.rows.unique(return_inverse=True)
            once.append(g._replace(rows=rows, values=torch.zeros_like(g.values[: len(rows)]).index_copy(
                0, places, g.values)))  # fmt: skip
        return once


class Averages(FullSoftmax):
    def objective(self, batch):
        return super().objective(batch) / self.predictions(batch)

    def gradients(self, batch):
        n = self.predictions(batch)
        return [g._replace(values=g.values / n) for g in super().gradients(batch)]


class Decays(SkipGram):
    def gradients(self, batch):
        return [*super().gradients(batch), *self.inputs.spread(torch.arange(24), 0.1 * self.inputs.rows.data)]


class UpdatesInPassing(SkipGram):
    def gradients(self, batch):
        found = super().gradients(batch)
        self.outputs.data.mul_(0.999)
        return found


class Halves(GlobalVectors):
    def gradients(self, batch):
        return [g._replace(values=g.values / 2) for g in super().gradients(batch)]


class StartsAnywhere(WordTable):
    def __init__(self, words, size, generator=None):
        super().__init__(words, size, None)


class StartsAtZero(WordTable):
    def __init__(self, words, size, generator=None):
        super().__init__(words, size, generator)
        if generator.initial_seed() == 1:
            self.rows.data.zero_()


class Kept(SkipGram):
    def rule(self):
        return lambda gradients, lr: None


TWINS = {
    "ascends": (built(Ascends), "no longer finite|lower the loss"),
    "forgets noise": (built(ForgetsNoise), "off the loss's own"),
    "forgets outputs": (built(ForgetsOutputs), "gradient of outputs"),
    "counts a row once": (built(CountsARowOnce), "off the loss's own"),
    "averages": (built(Averages), "sum over its parts"),
    "decays": (built(Decays), "off the loss's own"),
    "updates in passing": (built(UpdatesInPassing), "asking for gradients"),
    "halves": (built(Halves), "off the loss's own"),
    "starts anywhere": (built(SkipGram, StartsAnywhere), "two starts"),
    "starts at zero": (built(SkipGram, StartsAtZero), "start at zero"),
    "keeps everything": (built(Kept), "small step"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name):
    build, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_embedding(build)
