"""/hf: the Hugging Face Hub API over this shelf."""

from litestar import Router

router = Router("/hf", route_handlers=[], tags=["hub"])
