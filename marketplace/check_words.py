"""The words of what checks of a version find: what is wrong, why, and the one next step."""

from marketplace import graph_words, text_words
from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    **text_words.WORDS,
    **graph_words.WORDS,
    # files
    "link-symbolic": Words(
        422,
        _("A symbolic link"),
        _("{path} points to another place, which a version may not."),
        _("Put the file itself there and publish again."),
    ),
    "link-hard": Words(
        422,
        _("A file with two names"),
        _("{path} is a hard link, so its content could change under its other name."),
        _("Copy the file instead of linking it, and publish again."),
    ),
    "file-special": Words(
        422,
        _("Not a plain file"),
        _("{path} is a device, a pipe or a socket."),
        _("Remove it and publish again."),
    ),
    "file-name-unsafe": Words(
        422,
        _("A name that is not safe"),
        _("{path}: {fault}."),
        _("Rename it with plain letters, digits, points, hyphens and underscores."),
    ),
    "file-name-collides": Words(
        422,
        _("Two names that are one elsewhere"),
        _("{path} and {other} are the same file on systems that do not tell case or accents apart."),
        _("Rename one of the two."),
    ),
    "file-too-many": Words(
        422,
        _("Too many files"),
        _("The version has more than {limit} files."),
        _("Join small files into few, such as one .npz or one .jsonl."),
    ),
    "file-too-deep": Words(
        422,
        _("Folders too deep"),
        _("{path} lies more than {limit} folders deep."),
        _("Lay the files out flatter and publish again."),
    ),
    "file-unexpected": Words(
        422,
        _("A file that the manifest does not name"),
        _("{path} was sent, but is not among the artifacts."),
        _("Name it in the manifest, or leave it out."),
    ),
    "file-missing": Words(
        422,
        _("A file is not there"),
        _("The manifest names {path}, which was not sent."),
        _("Upload the file and start the checks again."),
    ),
    "file-size-wrong": Words(
        422,
        _("Another size than announced"),
        _("{path} has {size} bytes; the manifest says {announced}."),
        _("Make the manifest anew from the files, or send the right file."),
    ),
    "file-digest-wrong": Words(
        422,
        _("Another content than announced"),
        _("The sha256 of {path} is {digest}, which is not what the manifest says."),
        _("Make the manifest anew from the files, or send the right file."),
    ),
    "file-unreadable": Words(
        422,
        _("The file could not be read to its end"),
        _("The check of {path} broke off, so nothing is known about it."),
        _("Write the file anew with the format's own library, then publish again."),
    ),
    "file-too-demanding": Words(
        422,
        _("The file takes too much to check"),
        _("{path} needs more memory or time than a check may take."),
        _("Split it into smaller files and publish again."),
    ),
    "file-too-large": Words(
        422,
        _("The file is too large for its form"),
        _("{path} has {size} bytes; this form may have {limit}."),
        _("Make it smaller, or split it."),
    ),
    "file-empty": Words(422, _("An empty file"), _("{path} has no bytes."), _("Fill it or leave it out.")),
    "file-unknown": Words(
        422,
        _("A form that is not on the list"),
        _("{path} is none of the forms that are taken here."),
        _("Give it as ONNX, safetensors, GGUF, plain text, JSON or plain float32 numbers in .bin."),
    ),
    "file-name-content": Words(
        422,
        _("Name and content do not agree"),
        _("{path} is named as {name}, but its content is {content}."),
        _("Give the file the suffix of what it is, and publish again."),
    ),
    "file-pickle": Words(
        422,
        _("A pickle, which runs code when it is loaded"),
        _("{path} is loaded by pickle, whatever its name says ({names})."),
        _("Save the weights as safetensors or export the model to ONNX, and publish that."),
    ),
    "file-keras": Words(
        422,
        _("A Keras or HDF5 file"),
        _("{path} may carry layers that are code."),
        _("Export the model to ONNX with tf2onnx, and publish that."),
    ),
    "file-saved-model": Words(
        422,
        _("A graph of another framework"),
        _("{path} belongs to TensorFlow, Paddle or Core ML, whose graphs may read and write files."),
        _("Export the model to ONNX with tf2onnx or paddle2onnx, and publish that."),
    ),
    "file-tflite": Words(
        422,
        _("A TensorFlow Lite model"),
        _("{path} has to become ONNX first."),
        _("Run market import on the file: it is converted in a sandbox."),
    ),
    "file-ort": Words(
        422,
        _("A model in ONNX Runtime's own format"),
        _("{path} is compiled for one version of the runtime, and its graph cannot be checked."),
        _("Publish the ONNX file that it was made from; phones get theirs made here."),
    ),
    "file-archive": Words(
        422,
        _("An archive"),
        _("{path} holds other files, which are to be published one by one."),
        _("Unpack it and publish its files, or run market import on it."),
    ),
    "file-program": Words(
        422,
        _("A program or library"),
        _("{path} is code for a processor."),
        _("Leave it out: models here run on ONNX Runtime's own operators alone."),
    ),
    "file-program-inside": Words(
        422,
        _("A program hides in the file"),
        _("Within {path} a program of the kind {kind} begins."),
        _("Find out how it came there, and publish files without it."),
    ),
    "file-script": Words(
        422,
        _("A script"),
        _("{path} is source code, and code of vendors is not run here."),
        _("Leave it out; what it prepares belongs into the graph or the manifest's options."),
    ),
    "file-svg": Words(
        422, _("An SVG picture"), _("{path} can carry scripts."), _("Save the picture as PNG, JPEG or WebP.")
    ),
    "file-html": Words(
        422,
        _("A web page"),
        _("{path} is HTML or XML, which can carry scripts."),
        _("Write it as Markdown or plain text."),
    ),
    "file-office": Words(
        422,
        _("An office document"),
        _("{path} is a document that can carry macros and scripts."),
        _("Write it as Markdown, tables as CSV."),
    ),
    "file-polyglot": Words(
        422,
        _("One file of two forms"),
        _("{path} is also a {other} to other programs."),
        _("Write the file anew with the format's own library."),
    ),
    "file-trailing": Words(
        422,
        _("Bytes that belong to nothing"),
        _("{path} has {size} bytes that its form does not account for."),
        _("Write the file anew with the format's own library."),
    ),
    "file-truncated": Words(
        422,
        _("The file is cut off"),
        _("{path} would need {needed} bytes, and has fewer."),
        _("Upload the file again; if it stays short, write it anew."),
    ),
    "file-nan": Words(
        422,
        _("Weights that are not numbers"),
        _("In {path}, {name} holds NaN, which spoils every answer."),
        _("Export from the last sound checkpoint, and publish again."),
    ),
    "file-infinite": Words(
        422,
        _("Infinite weights"),
        _("In {path}, {name} holds infinite numbers."),
        _("Make sure that this is meant, and say so in the card."),
    ),
    "array-header": Words(
        422,
        _("The table's head cannot be read"),
        _("{path} does not begin as numpy writes it, or has a type that is no plain number."),
        _("Save it with numpy.save and allow_pickle=False."),
    ),
    "array-size": Words(
        422,
        _("The table's size does not fit its shape"),
        _("{path} should have {needed} bytes and has {size}."),
        _("Save it with numpy.save and allow_pickle=False."),
    ),
    "sound-broken": Words(
        422,
        _("A sound that cannot be read"),
        _("{path} is no sound WAV, FLAC or MP3 file."),
        _("Save it anew as WAV with 16 bits."),
    ),
    "picture-form": Words(
        422,
        _("A picture of another kind"),
        _("{path} is neither PNG, JPEG nor WebP."),
        _("Save the picture as PNG, JPEG or WebP."),
    ),
    "picture-broken": Words(
        422,
        _("A picture that cannot be read"),
        _("{path} is cut off or contradicts itself."),
        _("Save the picture anew and publish again."),
    ),
    "picture-large": Words(
        422,
        _("A picture too large"),
        _("{path} has more pixels or bytes than a page can show."),
        _("Scale it down to at most 4,000 pixels a side."),
    ),
    # archives
    "archive-invalid-records": Words(
        422,
        _("The archive is broken"),
        _("The records of {path} are not in order ({why})."),
        _("Pack it anew and retry."),
    ),
    "archive-bomb": Words(
        422,
        _("The archive claims to hold too much"),
        _("{path} claims to hold far more than it can or may."),
        _("Send the files themselves."),
    ),
    "archive-contradicts": Words(
        422,
        _("The archive says two things"),
        _("In {path}, {name} is described in two ways that do not agree."),
        _("Pack it anew and retry."),
    ),
    "archive-overlap": Words(
        422,
        _("Members of the archive lie upon each other"),
        _("In {path}, {name} shares bytes with another member."),
        _("Pack it anew and retry."),
    ),
    "archive-encrypted": Words(
        422,
        _("The archive is locked"),
        _("In {path}, {name} needs a password."),
        _("Pack it without a password and retry."),
    ),
    "archive-link": Words(
        422,
        _("A link in the archive"),
        _("In {path}, {name} is a link."),
        _("Pack the files themselves and retry."),
    ),
    "archive-special": Words(
        422,
        _("The archive holds more than files"),
        _("In {path}, {name} is a device or another special file."),
        _("Pack plain files only and retry."),
    ),
    "archive-name-twice": Words(
        422,
        _("A name stands twice in the archive"),
        _("{path} holds {name} more than once."),
        _("Pack it anew and retry."),
    ),
    "archive-name-unsafe": Words(
        422,
        _("A name in the archive is not safe"),
        _("In {path}, {name} would leave its folder or is no plain name."),
        _("Pack it with plain relative names and retry."),
    ),
}
