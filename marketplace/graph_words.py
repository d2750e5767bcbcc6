"""The words of what checks find in weights and graphs, once a code; see `check_words`."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    # graph
    "onnx-malformed": Words(
        422,
        _("Not a sound ONNX file"),
        _("{path} cannot be read from byte {place} on."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-unknown-field": Words(
        422,
        _("The ONNX file holds something unknown"),
        _("In {path} a {message} has a field {field}, which the format does not have."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-too-many-parts": Words(
        422,
        _("An ONNX graph of too many parts"),
        _("{path} has more nodes or fields than a model needs."),
        _("Simplify the graph with onnxslim, then publish again."),
    ),
    "onnx-text-large": Words(
        422,
        _("Too much text in an ONNX file"),
        _("The field {field} of {path} holds more than a model needs."),
        _("Clear documentation strings and metadata, then publish again."),
    ),
    "onnx-too-deep": Words(
        422,
        _("Graphs nested too deep"),
        _("{path} nests more than {limit} graphs or types."),
        _("Simplify the graph with onnxslim, then publish again."),
    ),
    "onnx-version": Words(
        422,
        _("An ONNX version that is not served"),
        _("{path} has {what} {version}; up to {newest} is known."),
        _("Export with an older opset, 17 to 21 work everywhere."),
    ),
    "onnx-settings": Words(
        422,
        _("Settings of the runtime in the model"),
        _("{path} carries {key}, by which it would set up the runtime itself."),
        _("Remove this metadata and publish again."),
    ),
    "onnx-domain": Words(
        422,
        _("An operator from elsewhere"),
        _("{path} uses {operator} of {domain}, which needs code that the runtime does not have."),
        _("Export with standard operators, or give it as a model-local function."),
    ),
    "onnx-operator": Words(
        422,
        _("An operator that does not exist"),
        _("{path} uses {operator}, which {domain} does not have."),
        _("Export with standard operators, or give it as a model-local function."),
    ),
    "onnx-program": Words(
        422,
        _("An operator that carries a program"),
        _("{path} uses {operator}, which hands a compiled program to a driver."),
        _("Publish the model as it was before it was compiled for a device."),
    ),
    "onnx-recursion": Words(
        422,
        _("Functions that call themselves"),
        _("In {path} functions call each other in a circle."),
        _("Inline the functions with onnx.inliner and publish again."),
    ),
    "onnx-functions": Words(
        422,
        _("Functions that grow without measure"),
        _("The functions of {path} are too many, too deep, or come to more than {limit} nodes."),
        _("Inline the functions with onnx.inliner and publish again."),
    ),
    "onnx-loop-endless": Words(
        422,
        _("A loop without end"),
        _("In {path} nothing ends a loop."),
        _("Give the loop a number of rounds or a condition that can become false."),
    ),
    "onnx-loop-long": Words(
        422,
        _("A loop of too many rounds"),
        _("{path} asks for {rounds} rounds; {limit} are allowed."),
        _("Bound the loop by the length of its input."),
    ),
    "onnx-loop-open": Words(
        422,
        _("A loop that only a condition ends"),
        _("{path} has a loop without a number of rounds."),
        _("Make sure that it ends on every input, or give it a number of rounds."),
    ),
    "onnx-shape": Words(
        422,
        _("A tensor of an impossible shape"),
        _("In {path} the shape of {name} is negative or beyond all memory."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-tensor-size": Words(
        422,
        _("A tensor whose data do not fit its shape"),
        _("In {path} {name} should have {needed} bytes and has {size}."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-type": Words(
        422,
        _("A tensor of an unknown type"),
        _("In {path} {name} has the type {type}."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-sparse": Words(
        422,
        _("A sparse tensor"),
        _("{path} stores {name} sparsely, so that its size cannot be seen."),
        _("Store the tensor densely and publish again."),
    ),
    "onnx-nan-constant": Words(
        422,
        _("A constant that is not a number"),
        _("In {path} the constant {name} is NaN."),
        _("Make sure that this is meant, and say so in the card."),
    ),
    "onnx-name-twice": Words(
        422,
        _("A name that stands for two values"),
        _("In {path} {name} is made twice."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-value-missing": Words(
        422,
        _("A value that nothing makes"),
        _("{path} uses {name}, which no node gives."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-cycle": Words(
        422,
        _("Nodes in a circle"),
        _("In {path} nodes wait for each other."),
        _("Export the model anew, and pass it through onnx.checker."),
    ),
    "onnx-external-path": Words(
        422,
        _("Weights that lie elsewhere"),
        _("{path} asks for its data at {name}, which is no plain name beside it."),
        _("Save the model with its data in one file beside it."),
    ),
    "onnx-external-missing": Words(
        422,
        _("Weights that were not sent"),
        _("{path} names {name}, which is not among the files."),
        _("Upload this file too, and name it in the manifest."),
    ),
    "onnx-external-range": Words(
        422,
        _("Weights behind the end of their file"),
        _("{path} asks for more of {name} than there is."),
        _("Save the model with its data in one file beside it."),
    ),
    "onnx-external-overlap": Words(
        422,
        _("Weights that lie upon each other"),
        _("In {path} two tensors share bytes at {offset}."),
        _("Save the model with its data in one file beside it."),
    ),
    # safetensors
    "safetensors-header": Words(
        422,
        _("The head of a safetensors file is not in order"),
        _("{path} begins with a head that the format does not allow."),
        _("Save the weights anew with the safetensors library."),
    ),
    "safetensors-type": Words(
        422,
        _("An unknown type in safetensors"),
        _("In {path} {name} has the type {type}."),
        _("Save the weights anew with the safetensors library."),
    ),
    "safetensors-size": Words(
        422,
        _("A size that does not fit the shape"),
        _("In {path} the place of {name} is not as long as its shape asks for."),
        _("Save the weights anew with the safetensors library."),
    ),
    "safetensors-overlap": Words(
        422,
        _("Tensors that share bytes"),
        _("In {path} {name} begins before the one before it ends."),
        _("Save the weights anew with the safetensors library."),
    ),
    "safetensors-gap": Words(
        422,
        _("A gap between tensors"),
        _("In {path} bytes before {name} belong to nothing."),
        _("Save the weights anew with the safetensors library."),
    ),
    # gguf
    "gguf-version": Words(
        422,
        _("A GGUF version that is not served"),
        _("{path} has version {version}; 2 and 3 are read."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-counts": Words(
        422,
        _("Counts that the file cannot hold"),
        _("{path} claims {tensors} tensors and {keys} keys."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-text-large": Words(
        422,
        _("A text in GGUF without measure"),
        _("A text in {path} claims more than {limit} bytes."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-too-many-parts": Words(
        422,
        _("Too many values in GGUF"),
        _("The lists of {path} are longer than any vocabulary."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-key": Words(
        422,
        _("A key in GGUF that is not in order"),
        _("In {path} the key {key} stands twice or is no plain name."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-value": Words(
        422,
        _("A value in GGUF that is not in order"),
        _("{path} holds a value of the kind {kind}."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-alignment": Words(
        422,
        _("GGUF tensors that are not aligned"),
        _("{path} has an alignment of {alignment}, or a tensor off it."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-tensor": Words(
        422,
        _("A GGUF tensor that is not in order"),
        _("In {path} the name or shape of {name} cannot be."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-type": Words(
        422,
        _("A GGUF tensor of an unknown type"),
        _("In {path} {name} has the type {type}."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-overlap": Words(
        422,
        _("GGUF tensors that share bytes"),
        _("In {path} {name} begins before the one before it ends."),
        _("Convert it anew with a current llama.cpp."),
    ),
    "gguf-gap": Words(
        422,
        _("A gap between GGUF tensors"),
        _("In {path} bytes before {name} belong to nothing."),
        _("Convert it anew with a current llama.cpp."),
    ),
}
