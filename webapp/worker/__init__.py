"""What workers do with models: the only part of the web app that reaches torch.

Trained versions answer without it, so what needs torch is imported where it trains or reads the label definitions.
"""

from webapp.worker.answering import model_of
from webapp.worker.predicting import answer, predict_cases
from webapp.worker.training import register, train

__all__ = ["answer", "model_of", "predict_cases", "register", "train"]
