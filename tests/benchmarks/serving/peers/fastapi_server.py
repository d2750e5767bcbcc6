"""uvicorn with two workers, each with the application; this process loads no graph."""

import os
from pathlib import Path

import uvicorn

if __name__ == "__main__":
    uvicorn.run(
        "fastapi_app:app",
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        workers=2,
        app_dir=str(Path(__file__).parent),
        log_level="warning",
        access_log=False,
    )
