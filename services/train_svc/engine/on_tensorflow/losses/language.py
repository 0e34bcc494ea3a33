"""Cross entropy of tokens, on TensorFlow."""

from services.train_svc.engine.on_tensorflow.losses.classification import CrossEntropy


class LanguageModel(CrossEntropy):
    """Cross entropy of tokens [batch, time, tokens] where there is a label; it is divided by the labels that count.

    For `language_model` the labels are shifted already: the label of a place is the token after it. For `masked_lm`
    (Devlin et al. 2018, arXiv 1810.04805) the label of every place that was not masked is `ignored`. With label
    smoothing the exponential of the loss is no perplexity.
    """
