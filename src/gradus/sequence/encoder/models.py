"""The registered models around BERT, by what they are for; all hold the encoder as `trunk`, under the same names.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding.
"""

from torch import nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.sequence.encoder.bert import Bert
from gradus.sequence.encoder.heads import BertPretraining, SentenceClassifier, Tagger

__all__ = ["adopt", "bert", "bert_classifier", "bert_tagger"]


@canon(
    "sequence/bert",
    kind="text-encoder",
    paper="Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding",
    names=("bert",),
    example=lambda: bert(30, layers=2, heads=2, width=16, context=16),
)
def bert(
    vocabulary: int,
    *,
    padding: int = 0,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    hidden: int | None = None,
    context: int = 128,
    dropout: float = 0.1,
    next_sentence: bool = True,
) -> BertPretraining:
    """BERT with the heads of its pretraining tasks: masked words, and whether a text follows another.

    Args:
        vocabulary: number of tokens.
        padding: id of the padding; lengths say where it stands.
        layers: of the encoder.
        heads: of each attention.
        width: features of a token.
        hidden: units of the perceptrons; four widths by default.
        context: most tokens of a text.
        dropout: probability.
        next_sentence: whether the second task is learned.
    """
    trunk = Bert(vocabulary, layers=layers, heads=heads, width=width, hidden=hidden, context=context, dropout=dropout)
    return BertPretraining(trunk, follows=next_sentence)


@canon(
    "sequence/bert-classifier",
    kind="text-classifier",
    paper="Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding",
    names=("bert",),
    example=lambda: bert_classifier(vocabulary=30, classes=3, layers=2, heads=2, width=16, context=32),
)
def bert_classifier(
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    hidden: int | None = None,
    context: int = 128,
    dropout: float = 0.1,
    pool: str = "first",
) -> SentenceClassifier:
    """BERT with a head that classifies texts and pairs of texts.

    Args:
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding; lengths say where it stands.
        layers: of the encoder.
        heads: of each attention.
        width: features of a token.
        hidden: units of the perceptrons; four widths by default.
        context: most tokens of a text.
        dropout: probability.
        pool: what stands for a text: first (its first token, through the pooler) or mean (of all its tokens).
    """
    trunk = Bert(vocabulary, layers=layers, heads=heads, width=width, hidden=hidden, context=context, dropout=dropout)
    return SentenceClassifier(trunk, classes, dropout, pool)


@canon(
    "sequence/bert-tagger",
    kind="tagger",
    paper="Devlin et al. 2019, BERT: pre-training of deep bidirectional Transformers for language understanding",
    names=("bert",),
    example=lambda: bert_tagger(vocabulary=30, classes=3, layers=2, heads=2, width=16, context=32),
)
def bert_tagger(
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    hidden: int | None = None,
    context: int = 128,
    dropout: float = 0.1,
) -> Tagger:
    """BERT with a head that gives every token a class.

    Args:
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding; lengths say where it stands.
        layers: of the encoder.
        heads: of each attention.
        width: features of a token.
        hidden: units of the perceptrons; four widths by default.
        context: most tokens of a text.
        dropout: probability.
    """
    trunk = Bert(vocabulary, layers=layers, heads=heads, width=width, hidden=hidden, context=context, dropout=dropout)
    return Tagger(trunk, classes, dropout)


def adopt(module: nn.Module, source: nn.Module) -> None:
    """Copy the weights of a pretrained encoder into the trunk of another model, in place.

    Args:
        module: has a `trunk`.
        source: has a `trunk` of the same form.

    Raises:
        GradusError: if the two trunks differ in form.
    """
    own, theirs = getattr(module, "trunk", None), getattr(source, "trunk", None)
    if not isinstance(own, nn.Module) or not isinstance(theirs, nn.Module):
        raise GradusError(
            "weights are passed on between models that hold an encoder: pretrain one, or leave out --from"
        )
    try:
        own.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        wrong = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise GradusError(
            f"the pretrained encoder has another form than this model ({wrong}): give both the same size"
        ) from None
