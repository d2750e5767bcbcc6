"""What a model is made of, found out by reading alone: operators, arithmetic, memory, what can be int8."""

from deployer.optimizer.architecture.inspection import (
    ArchitectureReport,
    GraphReport,
    NotAModelFolder,
    inspect,
    look,
    summary,
)

__all__ = ["ArchitectureReport", "GraphReport", "NotAModelFolder", "inspect", "look", "summary"]
