"""Which cases to ask people about next, so that few answers teach much. numpy and scikit-learn; no torch, no Django.

    uncertainty   how unsure a model is of an answer, from probabilities alone
    heads         one score of a case from the heads of a schema, which differ in kind, scale and importance
    diversity     orders that cover the cases, with a model or before there is one
    novelty       nothing is asked twice in other words
    strategies    all of it by name, and which is used when nothing else is said

One rule holds throughout: a higher score means ask sooner. An order is an iterator over positions, best first, that
computes no more than is taken from it.

Sizes: n cases that may be asked, m that were asked already, C labels, L labels of all heads together, W the width of
a vector, k cases of a batch.
"""
