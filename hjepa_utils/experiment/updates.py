"""The updates of one training: on a GPU recorded once and replayed, for Python is slower than the GPU."""

import torch

from ..runs.cuda_graphs import graphed


class Updates:
    """AdamW on `loss(dynamics, windows, weight)`, a tuple of tensors whose first is the one to lower.

    `clip(parameters, max_norm)` is applied to the network and to dt separately. On a GPU an update is
    thousands of small kernels; as a CUDA graph it takes a sixth of the time. What waits for the GPU's
    numbers, such as an implicit step, cannot be recorded and is run plainly.
    """

    def __init__(self, dynamics, loss, clip, *, lr, weight_decay, max_norm):
        self.dynamics, self.loss, self.clip, self.max_norm = dynamics, loss, clip, max_norm
        self.on_gpu = next(dynamics.parameters()).is_cuda
        self.optimiser = torch.optim.AdamW(
            dynamics.parameters(),
            lr=lr,
            weight_decay=weight_decay,
            fused=True,  # one pass over the weights: on a CPU too a sixth of the time
            capturable=self.on_gpu,
        )
        self._run = None

    def epoch(self, windows, batches, lr, weight):
        """One pass over batches of indices (n_batches, …, B); the mean of the losses, (n_losses, …)."""
        if self.on_gpu:
            weight = torch.tensor(weight, device=windows.device)
        self._set_rate(lr)
        first, *others = (self.run(windows[batch], weight) for batch in batches)
        return sum(others, first) / len(batches)

    def run(self, windows, weight):
        """`update`, on a GPU recorded at the first call; there `weight` is a tensor."""
        if self._run is None:
            self._run = self._recorded(windows, weight) if self.on_gpu else self.update
        return self._run(windows, weight)

    def update(self, windows, weight):
        """One update; the losses before it, (n_losses, …)."""
        losses = self.loss(self.dynamics, windows, weight)
        self.optimiser.zero_grad()
        losses[0].sum().backward()
        network = {name: p for name, p in self.dynamics.named_parameters() if p.grad is not None}
        dt = network.pop("dt", None)
        for own in (list(network.values()), [] if dt is None else [dt]):
            if own:
                self.clip(own, self.max_norm)
        self.optimiser.step()
        return torch.stack(losses).detach()

    def _set_rate(self, lr):
        """A graph reads the rate from where it lay at the recording."""
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = torch.tensor(lr, device=group["params"][0].device) if self.on_gpu else lr

    def _recorded(self, windows, weight):
        """`update` as a graph for windows of this shape; weights and moments are left as they were."""
        if getattr(getattr(self.dynamics, "step", None), "implicit", False):
            return self.update
        weights = [parameter.detach().clone() for parameter in self.dynamics.parameters()]
        moments = {p: {k: v.clone() for k, v in state.items()} for p, state in self.optimiser.state.items()}
        try:
            return graphed(self.update, windows, weight, prepare=self.optimiser.zero_grad)
        except RuntimeError as error:
            print(f"not recorded as a CUDA graph, so slower: {str(error).strip().splitlines()[0]}")
            return self.update
        finally:
            with torch.no_grad():  # in place: the graph reads and writes this memory
                for parameter, value in zip(self.dynamics.parameters(), weights, strict=True):
                    parameter.copy_(value)
                for parameter, state in self.optimiser.state.items():
                    for key, moment in state.items():
                        moment.copy_(moments[parameter][key]) if parameter in moments else moment.zero_()
