"""The kernels in plain PyTorch, with the loops over classes that its users write. For comparison."""

import torch
import torch.nn.functional as F


def class_statistics(mean, variance, count, x, y):
  """SePiCo's update, class by class."""
  mean, variance, count = mean.clone(), variance.clone(), count.clone()
  for c in y.unique().tolist():
    members = x[y == c]
    batch_mean, batch_variance = members.mean(0), members.var(0, unbiased=False)
    w = len(members) / (len(members) + count[c])
    variance[c] = (
      (1 - w) * variance[c] + w * batch_variance + w * (1 - w) * (mean[c] - batch_mean) ** 2
    )
    mean[c] = (1 - w) * mean[c] + w * batch_mean
    count[c] += len(members)
  return mean, variance, count


def bank_cross_entropy(x, y, bank, temperature):
  """BankCL: the mean similarity to each bank first, then each class's positives."""
  negatives = torch.stack([(x @ entries.T).mean(1) for entries in bank], 1) / temperature
  total = 0.0
  for c in y.unique().tolist():
    members = y == c
    others = [k for k in range(len(bank)) if k != c]
    rest = torch.logsumexp(negatives[members][:, others], 1, keepdim=True)
    positives = x[members] @ bank[c].T / temperature
    total = total + (torch.logaddexp(positives, rest) - positives).mean(1).sum()
  return total / len(y)


def info_nce(x, y, temperature):
  """Every pixel against every pixel, class by class of the anchors."""
  total = 0.0
  for c in y.unique().tolist():
    members = y == c
    s = x[members] @ x.T / temperature
    rest = torch.logsumexp(s[:, ~members], 1, keepdim=True)
    positive = s[:, members]
    off_diagonal = ~torch.eye(len(positive), dtype=torch.bool)
    nll = F.softplus(rest - positive) * off_diagonal
    total = total + (nll.sum(1) / max(len(positive) - 1, 1)).sum()
  return total / len(y)


def multires_pixel_contrast(low, high, weight, y, y_high):
  """CLUDA's loss with the whole [N, N] matrices; source form."""
  low, high = F.normalize(low, dim=-1), F.normalize(high, dim=-1)
  same = y[:, None] == y
  positive = (same & ~torch.eye(len(y), dtype=torch.bool)).to(low.dtype)

  def log_prob(s):
    exp = s.exp()
    return s - torch.log(exp + (exp * ~same).sum(1, keepdim=True))

  w = weight[:, None] * weight * (y_high != 0)[:, None]
  mixed = w * log_prob(low @ low.T) + (1 - w) * log_prob(low @ high.T)
  return -0.5 * ((positive * mixed).sum(1) / positive.sum(1).clamp(min=1)).mean()


def region_contrast(x, positive, y, valid, bank, bank_label, temperature, eps=1e-8):
  """RCCR's loss on the valid anchors, all similarities at once."""
  x, positive, y = x[valid > 0], positive[valid > 0], y[valid > 0]
  pos = (x * positive).sum(-1) / temperature
  s = x @ bank.T / temperature
  largest = torch.maximum(pos, s.max(1).values)
  numerator = (pos - largest).exp()
  negative = ((s - largest[:, None]).exp() * (bank_label != y[:, None])).sum(1)
  return -torch.log(numerator / (numerator + negative + eps) + eps).mean()


def cam_prototypes(prototypes, counts, features, cam, label, momentum=0.999, top_k=32):
  """CONFETI's update, class by class; tensors are [B, D, h, w]."""
  resize = lambda x: F.interpolate(x, label.shape[1:], mode="bilinear", align_corners=True)
  flat = lambda x: resize(x).permute(0, 2, 3, 1).flatten(0, 2)
  features, cam, label = flat(features), flat(cam), label.flatten()
  prototypes, counts = prototypes.clone(), counts.clone()
  for c in label.unique().tolist():
    members = (label == c).nonzero()[:, 0]
    weight, index = cam[members, c].topk(min(top_k, len(members)))
    mean = F.normalize((weight[:, None] * features[members[index]]).sum(0), dim=0)
    share = 1.0 if counts[c] == 0 else min(1 - 1 / (float(counts[c]) + 1), 1 - momentum)
    counts[c] += len(weight)
    if weight.sum() > 0:
      prototypes[c] = (1 - share) * prototypes[c] + share * mean
  return F.normalize(prototypes, dim=1), counts
