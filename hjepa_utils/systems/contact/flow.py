"""The flow of H = |w|²/2 between surfaces: straight flights, and mirror reflections where a gap closes.

y are positions in which the kinetic energy is |w|²/2 with w = ẏ, so that (y, w) are canonical and a contact
without friction mirrors w at the surface, w' = w - 2 (n·w) n (Alder & Wainwright, 1959, for balls). The
time of a contact is the root of a polynomial of degree two; no time step is involved.
"""

from typing import NamedTuple

import torch

MAX_EVENTS = 1_000  # of one state in one call


class Gaps(NamedTuple):
    """Surfaces g_k(y) = yᵀ A_k y + b_k·y + c_k; all g are positive where the bodies may be.

    `curve` A (K, n, n) symmetric, `slope` b (K, n), `level` c (K,). A wall has A = 0, a pair of discs
    |y_1 - y_2|² - d².
    """

    curve: torch.Tensor
    slope: torch.Tensor
    level: torch.Tensor

    def __call__(self, y):
        """All gaps: (…, n) → (…, K)."""
        return torch.einsum("...i,kij,...j->...k", y, self.curve, y) + y @ self.slope.T + self.level

    def one(self, y, k):
        """The gap k (B,) of each state y (B, n), and its gradient: (B,) and (B, n)."""
        bent = torch.einsum("bij,bj->bi", self.curve[k], y)
        value = (y * (bent + self.slope[k])).sum(dim=1) + self.level[k]
        return value, 2 * bent + self.slope[k]


def flow(y, w, seconds, gaps):
    """The states after `seconds`, a number or (B,), not negative: (B, n), (B, n) → the same.

    Differentiable in the states, the surfaces and `seconds`, but where a contact grazes or two meet in
    one instant; there the flow has no derivative. Raises `ValueError` for a state that does not get
    away from its contacts, as one that starts on the far side of two walls.
    """
    left = torch.as_tensor(seconds, dtype=y.dtype, device=y.device).expand(len(y))
    meets = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for _ in range(MAX_EVENTS):
        time, k = first_contact(y.detach(), w.detach(), gaps)
        meets = time < left
        if not meets.any():
            return y + left[:, None] * w, w
        time = torch.where(meets, contact_time(y, w, time, k, gaps), left)
        y, left = y + time[:, None] * w, left - time
        normal = gaps.one(y, k)[1]
        impulse = -2 * (normal * w).sum(dim=1) / normal.square().sum(dim=1)
        w = torch.where(meets[:, None], w + impulse[:, None] * normal, w)
    stuck = meets.nonzero()[0].item()
    raise ValueError(
        f"state {stuck} of {len(y)} has more than {MAX_EVENTS:,} contacts in one step: it starts outside the "
        "walls, or inside another body; start it from a place where bodies have been"
    )


@torch.no_grad()
def first_contact(y, w, gaps):
    """When each state next meets a surface, and which: (B,) and (B,); inf where it meets none.

    0 where it is on a surface, or beyond it, and still approaches.
    """
    level = gaps(y)
    bent = torch.einsum("bi,kij->bkj", w, gaps.curve)
    rate = 2 * (bent @ y[:, :, None]).squeeze(2) + w @ gaps.slope.T
    bend = (bent @ w[:, :, None]).squeeze(2)
    discriminant = rate.square() - 4 * bend * level
    root = discriminant.clamp_min(0).sqrt()
    closes = (rate < 0) & (discriminant >= 0)
    returns = (rate >= 0) & (bend < 0)  # from inside a curved wall, to its other side
    far = torch.full_like(level, torch.inf)
    time = torch.where(closes, 2 * level.clamp_min(0) / torch.where(closes, root - rate, 1.0), far)
    time = torch.where(returns, (rate + root) / torch.where(returns, -2 * bend, 1.0), time)
    return torch.where((rate < 0) & (level <= 0), 0.0, time).min(dim=1)


def contact_time(y, w, time, k, gaps):
    """The same times (B,), now differentiable: by the implicit function theorem, ∂t = -∂g / ġ at the contact.

    One Newton step from the root, which leaves the value as it is and has the root's derivative.
    """
    root = torch.where(time.isfinite(), time, 0.0)
    gap, normal = gaps.one(y + root[:, None] * w, k)
    rate = (normal * w).sum(dim=1)
    is_root = (root > 0) & (rate < 0)
    return torch.where(is_root, root - gap / torch.where(is_root, rate, -1.0), time)
