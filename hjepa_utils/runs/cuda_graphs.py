"""Work on a GPU that is recorded once and replayed without Python."""

from collections.abc import Callable
from dataclasses import dataclass

import torch


def graphed(function, *examples, prepare=lambda: None):
    """`function` of tensors as one CUDA graph, for inputs of the shapes of `examples`; needs a GPU.

    `function` returns one tensor and must neither wait for the GPU nor depend on values. It runs four
    times here; `prepare()` comes before the recording. A call copies its inputs to where the graph
    reads them, replays it, and returns a copy of the result. Raises `RuntimeError` for examples that
    are not on a GPU, or if the function cannot be recorded.
    """
    for example in examples:
        if not example.is_cuda:
            raise RuntimeError(f"a CUDA graph needs tensors on a GPU, got one on {example.device}")
    inputs = [example.detach().clone() for example in examples]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is set up at a first call must not be recorded
        for _ in range(3):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    prepare()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*inputs)

    return _Recorded(graph, inputs, output, function)


@dataclass
class _Recorded:
    """Called, it replays the graph; with `function` lives what the graph reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    output: torch.Tensor
    function: Callable

    def __call__(self, *given):
        for mine, theirs in zip(self.inputs, given, strict=True):
            mine.copy_(theirs)
        self.graph.replay()
        return self.output.clone()
