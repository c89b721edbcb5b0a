"""English words that carry a sentence's form rather than its matter.

The closed classes of the language: articles, pronouns, prepositions, conjunctions, auxiliaries. Words of negation and
contrast (not, no, nor, never, but, however) are not among them: they turn the meaning of what stands beside them.
"""

__all__ = ["ENGLISH"]

ARTICLES = "a an the this that these those such"
PRONOUNS = (
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers "
    "herself it its itself they them their theirs themselves one ones oneself who whom whose which what whoever "
    "whatever whichever someone something somebody anyone anything anybody everyone everything everybody each other "
    "another either both some any all"
)
PREPOSITIONS = (
    "of to in on at by for from with into onto upon about above across after against along among amongst around as "
    "before behind below beneath beside besides between beyond during inside near off out outside over past per since "
    "through throughout till toward towards under until up down via within"
)
CONJUNCTIONS = "and or if because while whereas when where why how whether than so then once"
AUXILIARIES = (
    "am is are was were be been being do does did doing done have has had having can could may might must shall should "
    "will would ought"
)
ADVERBS = "also here there thus hence therefore again already just very"

ENGLISH = frozenset(" ".join((ARTICLES, PRONOUNS, PREPOSITIONS, CONJUNCTIONS, AUXILIARIES, ADVERBS)).split())
"""The words, in small letters."""
