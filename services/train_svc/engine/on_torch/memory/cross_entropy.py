"""Cross entropy of a linear layer's scores without holding them all.

The scores of a language model [places, vocabulary] are its largest tensor. Here a chunk of places at a time is scored,
and its gradient computed at once while its scores are there, as fused losses do in idea (Wijmans et al. 2024, arXiv
2411.09009; Hsu et al. 2024, arXiv 2410.10989).
"""

import torch

CHUNK_BYTES = 2**27
"""Of a chunk's scores in float32, where the caller gives no size."""
Scored = tuple[torch.Tensor, torch.Tensor]
"""A chunk's loss and its gradient. It has a name as torch.compile reads no subscript in a function."""
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Hidden vectors [n, features], weight, bias."""
Gradients = tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]
"""Theirs."""


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    *,
    places: torch.Tensor | None = None,
    ignored: int = -100,
    label_smoothing: float = 0.0,
    chunk: int = 0,
) -> torch.Tensor:
    """Return the sum over all places of the cross entropy between `hidden weight^T + bias` and the labels.

    Products are in autocast's format where that is on, all else is in float32. Compiled, it is part of the graph, its
    chunks one after the other.

    Args:
        hidden: [..., features].
        weight: [vocabulary, features].
        bias: [vocabulary], or None.
        labels: [...] int64.
        places: int64 [n], which places of the flattened labels are computed at all; each with a label must be among
            them once (`labelled_places`). None: all.
        ignored: the label of places that count for nothing.
        label_smoothing: share of the target that is spread over the vocabulary.
        chunk: places at a time; 0: as many as make scores of 128 MiB.

    Returns:
        [] float32.
    """
    hidden, labels = hidden.flatten(0, -2), labels.flatten()
    if places is not None:
        hidden, labels = hidden.index_select(0, places), labels.index_select(0, places)
    chunk = chunk or fitting_chunk(hidden.shape[0], weight.shape[0])
    tensors = (hidden, weight, bias)
    if not torch.is_grad_enabled():
        tensors = (hidden.detach(), weight.detach(), None if bias is None else bias.detach())
    with torch.no_grad():
        total, gradients = _in_chunks(tensors, labels, (ignored, label_smoothing), chunk)
    # By sums that are zero and have these gradients, not by an autograd function: torch 2.11 compiles some of those to
    # wrong gradients (pytorch/pytorch issue 180642).
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if tensor is not None and gradient is not None:
            product = (tensor.float() * gradient).sum()
            total = total + (product - product.detach())
    return total


def fitting_chunk(places: int, vocabulary: int) -> int:
    """Return how many places make a chunk of at most 128 MiB, in chunks that are as even as it goes."""
    most = max(1, CHUNK_BYTES // (4 * vocabulary))
    return -(-places // -(-places // most))


def _in_chunks(
    tensors: Tensors, labels: torch.Tensor, how: tuple[int, float], chunk: int
) -> tuple[torch.Tensor, Gradients]:
    # The sum, and the gradients of hidden, weight and bias, each where it is wanted.
    hidden, weight, bias = tensors
    dtype = _product_dtype(hidden, weight)
    matrix = weight.to(dtype)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    of_hidden, (of_weight, of_bias) = [], (_zeros(each) for each in (weight, bias))
    for each, own in zip(torch.split(hidden, chunk), torch.split(labels, chunk), strict=True):
        rows = each.to(dtype)
        loss, gradient = _scored(rows @ matrix.t(), bias, own, *how)
        total += loss
        if of_bias is not None:
            of_bias += gradient.sum(0)
        gradient = gradient.to(dtype)
        if hidden.requires_grad:
            of_hidden.append((gradient @ matrix).to(hidden.dtype))
        if of_weight is not None:
            of_weight += gradient.t() @ rows
    return total, (torch.cat(of_hidden) if of_hidden else None, of_weight, of_bias)


def _product_dtype(hidden: torch.Tensor, weight: torch.Tensor) -> torch.dtype:
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(hidden.dtype, weight.dtype)


def _zeros(like: torch.Tensor | None) -> torch.Tensor | None:
    # Sums over chunks are in float32, whatever the products are in.
    return None if like is None or not like.requires_grad else torch.zeros_like(like, dtype=torch.float32)


def _scored(
    products: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor, ignored: int, smoothing: float
) -> Scored:
    # The loss's sum over a chunk, and its gradient [places, vocabulary] in float32.
    scores = products.float()
    if bias is not None:
        scores.add_(bias.float())
    real = (labels != ignored)[:, None]
    label = torch.where(real, labels[:, None], 0)
    whole, own = scores.logsumexp(-1, keepdim=True), scores.gather(1, label)
    loss = whole - (1 - smoothing) * own
    if smoothing:
        loss = loss - smoothing * scores.mean(-1, keepdim=True)
    # The softmax less the target, which is a share spread over all, and the rest at the label.
    spread = smoothing / scores.shape[1]
    at_label = (own - whole).exp() - spread - (1 - smoothing)
    gradient = scores.sub_(whole).exp_().sub_(spread).scatter_(1, label, at_label).masked_fill_(~real, 0.0)
    return torch.where(real, loss, 0.0).sum(), gradient
