"""The words of what checks find in texts, templates and cards, once a code; see `check_words`."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    # texts
    "text-not-utf8": Words(
        422,
        _("Not a text in UTF-8"),
        _("{path} holds bytes that are no UTF-8."),
        _("Save it as UTF-8 and publish again."),
    ),
    "text-control": Words(
        422,
        _("Control characters in a text"),
        _("{path} has one in line {line}."),
        _("Take it out and publish again."),
    ),
    "text-direction": Words(
        422,
        _("A text that hides its direction"),
        _("Line {line} of {path} turns the reading direction, so that it reads otherwise than it is."),
        _("Take these characters out and publish again."),
    ),
    "text-invalid": Words(
        422,
        _("The text does not follow its form"),
        _("{path} is no sound {form} at line {line}."),
        _("Correct this line and publish again."),
    ),
    "text-key-twice": Words(
        422,
        _("A key stands twice"),
        _("In {path} the key {key} stands twice, and readers differ on which one counts."),
        _("Keep one of the two."),
    ),
    "text-too-deep": Words(
        422,
        _("Nested too deep"),
        _("{path} nests more than {limit} levels."),
        _("Make it flatter and publish again."),
    ),
    "text-too-demanding": Words(
        422,
        _("A text of too many parts"),
        _("{path} has more values than a reader may take."),
        _("Split it into smaller files and publish again."),
    ),
    "text-huge-number": Words(
        422,
        _("A number of too many digits"),
        _("{path} holds a number that no program means."),
        _("Write it shorter and publish again."),
    ),
    "text-runs-code": Words(
        422,
        _("A setting that runs code"),
        _("{path} sets {key}, by which libraries load code of its author."),
        _("Take this setting out; the model has to work without code of its own."),
    ),
    "text-alias": Words(
        422,
        _("Anchors in YAML"),
        _("Line {line} of {path} repeats a part by reference, which can grow without end."),
        _("Write the part out and publish again."),
    ),
    "text-tag": Words(
        422,
        _("A type in YAML that is none"),
        _("{path} asks for {tag}, which would build an object of a program."),
        _("Write plain values only."),
    ),
    "text-formula": Words(
        422,
        _("A cell that is a formula"),
        _("In {path} a spreadsheet would carry out {cell}."),
        _("Put an apostrophe before it, or write it otherwise."),
    ),
    "text-pattern": Words(
        422,
        _("A pattern that may never end"),
        _("In {path} the pattern {pattern} can backtrack without end."),
        _("Write it without a repetition within a repetition and without back references."),
    ),
    "text-tokenizer-part": Words(
        422,
        _("A tokenizer of unknown parts"),
        _("{path} has as {part}: {type}, which is not known here."),
        _("Save it with the tokenizers library."),
    ),
    "text-tokenizer-size": Words(
        422,
        _("A tokenizer beyond all measure"),
        _("A part of {path} is larger than {limit}."),
        _("Save it with the tokenizers library."),
    ),
    "text-tokenizer-id": Words(
        422,
        _("A token with an impossible number"),
        _("In {path} the token {token} has a number outside of the vocabulary."),
        _("Number the tokens from 0 without gaps."),
    ),
    "text-sentencepiece": Words(
        422,
        _("A sentencepiece model that cannot be read"),
        _("{path} is no list of pieces from byte {place} on."),
        _("Train or export it anew with sentencepiece."),
    ),
    "text-too-many-parts": Words(
        422,
        _("Too many pieces"),
        _("{path} has more fields than a vocabulary needs."),
        _("Train or export it anew with sentencepiece."),
    ),
    "text-template-reaches-out": Words(
        422,
        _("A chat template that reaches too far"),
        _("Line {line} of a template in {path} uses {what}, which leads out of the sandbox."),
        _("Write the template with loops, conditions and plain values only."),
    ),
    "text-template-endless": Words(
        422,
        _("A chat template without end"),
        _("Line {line} of a template in {path} counts or nests too far."),
        _("Loop over the messages only."),
    ),
    "text-template-large": Words(
        422,
        _("A chat template too large"),
        _("A template in {path} is larger than {limit}."),
        _("Make it shorter and publish again."),
    ),
    "text-active-html": Words(
        422,
        _("Active HTML in a card"),
        _("{path} holds {tag}, which pages do not show."),
        _("Write it in Markdown."),
    ),
    "text-html-in-card": Words(
        422,
        _("HTML in a card"),
        _("Tags in {path} are cleaned before a page shows them."),
        _("Look at the card's preview, or write it in Markdown."),
    ),
    "link-runs-code": Words(
        422, _("A link that runs code"), _("{path} links to {link}."), _("Link to pages by https only.")
    ),
    # secrets
    "secret-private-key": Words(
        422,
        _("A private key was left in"),
        _("Line {line} of {path} begins a private key."),
        _("Take it out, and replace the key everywhere: it counts as known now."),
    ),
    "secret-aws": Words(
        422,
        _("An AWS key was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-github": Words(
        422,
        _("A GitHub token was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-hugging-face": Words(
        422,
        _("A Hugging Face token was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-openai": Words(
        422,
        _("An OpenAI or Anthropic key was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-aliyun": Words(
        422,
        _("An Alibaba Cloud key was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-tencent": Words(
        422,
        _("A Tencent Cloud key was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-slack": Words(
        422,
        _("A Slack token was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-google": Words(
        422,
        _("A Google key was left in"),
        _("Line {line} of {path} holds one."),
        _("Take it out and revoke it: it counts as known now."),
    ),
    "secret-password-in-url": Words(
        422,
        _("A password stands in an address"),
        _("Line {line} of {path} holds one."),
        _("Take it out and change the password: it counts as known now."),
    ),
}
