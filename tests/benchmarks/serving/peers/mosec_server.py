"""mosec: a front in Rust, workers in Python, batches of what came within a few milliseconds."""

import msgspec
from graph import BATCH, WORKERS, Graph
from mosec import Server, Worker

WAIT = 5  # milliseconds


class Inference(Worker):
    """JSON rows through the graph."""

    def __init__(self):
        self.graph = Graph()

    def deserialize(self, data):
        """One request."""
        return self.graph.row(msgspec.json.decode(data))

    def forward(self, rows):
        """One batch."""
        return list(self.graph.run(rows))

    def serialize(self, result):
        """One answer."""
        return msgspec.json.encode({self.graph.output: result.tolist()})


if __name__ == "__main__":
    server = Server()
    server.append_worker(Inference, num=WORKERS, max_batch_size=BATCH, max_wait_time=WAIT)
    server.run()
