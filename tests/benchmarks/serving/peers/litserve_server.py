"""LitServe: FastAPI in front, batches in worker processes."""

import litserve
from graph import BATCH, PORT, WORKERS, Graph

WAIT = 0.005  # seconds


class Inference(litserve.LitAPI):
    """JSON rows through the graph."""

    def setup(self, device):
        """Once in each worker."""
        self.graph = Graph()

    def decode_request(self, request):
        """One request."""
        return self.graph.row(request)

    def batch(self, inputs):
        """Rows as they are; the graph stacks them."""
        return inputs

    def predict(self, rows):
        """One batch."""
        return self.graph.run(rows)

    def unbatch(self, output):
        """Its rows."""
        return list(output)

    def encode_response(self, output):
        """One answer."""
        return {self.graph.output: output.tolist()}


if __name__ == "__main__":
    api = Inference(max_batch_size=BATCH, batch_timeout=WAIT)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False)
