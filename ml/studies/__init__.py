"""Studies: what `make learning` measures on public data, part by part, so that it can be stopped and goes on.

lab         the data, the encoder that all parts share, and a file for each part that is done
quality     accuracy of trainings: the helpline, few labels, several heads in one network, smaller students
selection   which cases to ask, beside asking at random; labels that were spoilt on purpose
report      one JSON file, and one page with its curves
"""

from ml.studies import quality, selection

ALL = quality.STUDIES | selection.STUDIES
