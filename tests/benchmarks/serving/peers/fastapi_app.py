"""FastAPI as its tutorial has it: a pydantic body, and a plain function that runs in the thread pool."""

from fastapi import FastAPI
from graph import Graph
from pydantic import create_model

app = FastAPI()
graph = Graph()
kinds = {"int64": list[int], "float32": list[float]}
Body = create_model("Body", **{name: (kinds[dtype.__name__], ...) for name, dtype in graph.inputs.items()})


@app.post("/predict")
def predict(body: Body):
    """One row."""
    return {graph.output: graph.run([graph.row(body.model_dump())])[0].tolist()}
