"""Triton's own server by way of pytriton: its HTTP front and dynamic batcher, the graph in Python workers."""

import signal
import sys

import numpy as np
from graph import BATCH, PORT, WORKERS, Graph
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def worker(graph):
    """What Triton calls with a batch, one batch at a time."""

    @batch
    def infer(**feed):
        return {graph.output: graph.session.run([graph.output], feed)[0]}

    return infer


def tensors(nodes):
    """A graph's inputs or outputs without the batch axis."""
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32}
    return [
        Tensor(
            name=node.name,
            dtype=kinds[node.type],
            shape=tuple(axis if isinstance(axis, int) else -1 for axis in node.shape[1:]),
        )
        for node in nodes
    ]


if __name__ == "__main__":
    # Leaves the with block, which ends Triton and what it keeps in /tmp.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    graphs = [Graph() for _ in range(WORKERS)]
    settings = TritonConfig(http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False)
    with Triton(config=settings) as triton:
        triton.bind(
            model_name="m",
            infer_func=[worker(graph) for graph in graphs],
            inputs=tensors(graphs[0].session.get_inputs()),
            outputs=tensors(graphs[0].session.get_outputs()),
            config=ModelConfig(max_batch_size=BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
