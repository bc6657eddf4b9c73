"""Small networks that begin by saying nothing."""

from torch import nn


def quiet_network(n_in, hidden, n_out, start=0.0, depth=1):
    """`depth` hidden layers of tanh; whatever it sees, it says `start` until it is trained."""
    last = nn.Linear(hidden, n_out)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, start)
    layers = [nn.Linear(n_in, hidden), nn.Tanh()]
    for _ in range(depth - 1):
        layers += [nn.Linear(hidden, hidden), nn.Tanh()]
    return nn.Sequential(*layers, last)
