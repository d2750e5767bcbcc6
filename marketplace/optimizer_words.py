"""The words of what the optimiser refuses, as `problem_words` has them for the rest of the house."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "unknown-optimization": Words(
        404,
        _("No such optimisation"),
        _("No optimisation has the id {id}."),
        _("See all of them with: market optimize --list"),
    ),
    "optimization-busy": Words(
        409,
        _("Not in this state"),
        _("The optimisation {id} is {state}; this needs it to be {wanted}."),
        _("Look at its page, and wait for it or cancel it first: market optimize --cancel {id}"),
    ),
    "optimization-error": Words(
        422,
        _("The optimisation was refused"),
        _("It cannot be done as asked."),
        _("Change what you ask for."),
    ),
    "optimization-cancelled": Words(
        409,
        _("The optimisation was cancelled"),
        _("Somebody asked job {job} to stop."),
        _("Retry it, or begin another one."),
    ),
    "objective-refused": Words(
        400,
        _("The bounds cannot be kept"),
        _("{bound} is {value}; {expected} is expected."),
        _("Loosen this bound, or leave it out."),
    ),
    "nothing-to-optimize": Words(
        422,
        _("There is nothing to optimise"),
        _("{model} has no ONNX graph that can be read."),
        _("Choose an .onnx file, or a model folder with manifest.json that names one."),
    ),
    "model-refused": Words(
        422,
        _("The model cannot be served as it is"),
        _("At {where}: {why}."),
        _("Export the model again; the dry run tells more: market optimize MODEL --dry-run"),
    ),
    "not-a-model-folder": Words(
        422,
        _("This is no model folder"),
        _("{folder}: {why}."),
        _("Choose an .onnx file, or a model folder with manifest.json that names one."),
    ),
    "baseline-failed": Words(
        422,
        _("The model does not answer the rows as it is"),
        _("Row {row}: {why}."),
        _("Correct this row of the data, or try it with: market call"),
    ),
    "worker-failed": Words(
        500,
        _("A step of the optimisation ended early"),
        _("{step}: {how}. Last lines of its log: {log}"),
        _("Free some memory or choose a smaller model, then retry."),
    ),
    "certificate-refused": Words(
        409,
        _("The certificate does not hold"),
        _("{subject}: {why}."),
        _("Do not run this variant: optimise again, or deploy the model as it came."),
    ),
    "unknown-variant": Words(
        404,
        _("No such variant"),
        _("No variant has the digest {variant}."),
        _("See the variants of a listing on its page, or make one with: market optimize"),
    ),
    "variant-mismatch": Words(
        409,
        _("The variant was made for something else"),
        _("Its {what} is {has}, and {asked} was asked for."),
        _("Deploy it as what it was made for, or optimise for what you need."),
    ),
    "unknown-sample": Words(
        404,
        _("No such sample"),
        _("You have no sample {sample}."),
        _("Upload the file again: market optimize MODEL --data FILE"),
    ),
    "sample-in-use": Words(
        409,
        _("The sample is in use"),
        _("Optimisation {id} reads {sample}."),
        _("Wait for it, or cancel it first: market optimize --cancel {id}"),
    ),
    "sample-refused": Words(
        422,
        _("This is no file of rows"),
        _("{name} is empty or of another kind; one of these is expected: {expected}."),
        _("Save the rows as CSV or JSONL with a header of input names and label."),
    ),
    "recipe-refused": Words(
        422, _("The recipe does not fit"), _("{recipe}: {why}."), _("Choose another recipe.")
    ),
    "target-unavailable": Words(
        503,
        _("This machine cannot play the device"),
        _("{device}: {why}."),
        "{next}",
    ),
    "target-refused": Words(
        422,
        _("The device's runtime refused the graph"),
        _("{device}, at {stage}: {why}."),
        _("Choose another variant or another device."),
    ),
    "inspection-refused": Words(
        422, _("The graph cannot be looked at"), _("{file} cannot be read."), _("Export the model again.")
    ),
    "not-onnx": Words(
        422, _("This is no ONNX file"), _("{file}: {why}."), _("Convert the model to ONNX first.")
    ),
    "broken-graph": Words(
        422,
        _("The graph contradicts itself"),
        _("{file}, at {where}: {why}."),
        _("Export the model again."),
    ),
    "missing-external-data": Words(
        422,
        _("The graph's weights are missing"),
        _("{file} keeps weights in {data}, which is not there."),
        _("Put this file beside the graph."),
    ),
    "external-data-outside": Words(
        422,
        _("The graph reaches out of its folder"),
        _("{file} names weights at {data}."),
        _("Save the model with its weights beside it."),
    ),
    "graph-too-large": Words(
        422,
        _("The graph is too large to be looked at"),
        _("{file}: more {what} than {limit}."),
        _("Export the model with less structure."),
    ),
    # a person's rows
    "data-refused": Words(
        422, _("The data cannot be used"), _("{name} was refused."), _("Correct the file, then try again.")
    ),
    "data-missing": Words(
        404, _("The data file is not there"), _("There is no file {name}."), _("Check the path.")
    ),
    "data-no-table": Words(
        422,
        _("There is no table among the data"),
        _("{name} holds {found}; {expected} is expected."),
        _("Put the rows into data.csv or data.jsonl beside the files that they name."),
    ),
    "data-empty": Words(
        422,
        _("The data is empty"),
        _("{name} has no rows."),
        _("Write a header and one row for each example."),
    ),
    "data-format": Words(
        422,
        _("The data is of a kind that is not read"),
        _("{name} looks like {found}."),
        _("Save it as CSV, JSONL, .npz, or a .zip of data.csv and the files that it names."),
    ),
    "data-encoding": Words(
        422,
        _("The text's encoding cannot be told"),
        _("{name}, line {line}, is not UTF-8 and in no other encoding that is known."),
        _("Save the file as UTF-8."),
    ),
    "data-broken": Words(
        422,
        _("A row cannot be read"),
        _("{name}, row {row} (line {line}): {why}."),
        _("Correct this row."),
    ),
    "data-changed": Words(
        409,
        _("The data was changed meanwhile"),
        _("{path} of {name} is not what it was."),
        _("Leave the files as they are while they are in use, then try again."),
    ),
    "data-zip-broken": Words(
        422, _("The archive cannot be opened"), _("{name}: {why}."), _("Pack the files again.")
    ),
    "data-zip-bomb": Words(
        422,
        _("The archive unpacks to too much"),
        _("{member} of {name} has {size} bytes unpacked; {limit} are allowed."),
        _("Pack fewer or smaller files."),
    ),
    "data-columns": Words(
        422,
        _("Columns are missing"),
        _("{name} has no column {missing}. It has: {found}. Expected: {expected}. Perhaps meant: {meant}."),
        _("Rename the columns in the first line."),
    ),
    "data-cell": Words(
        422,
        _("A cell is of another form"),
        _("{name}, row {row}, column {column}: {why}."),
        _("Correct this cell."),
    ),
    "data-not-finite": Words(
        422,
        _("A number is missing or infinite"),
        _("{name}, row {row}, column {column} holds no finite number."),
        _("Fill in the number or leave the row out."),
    ),
    "data-too-large": Words(
        422,
        _("A row is too large"),
        _("{name}, row {row}, column {column}: more than {limit} bytes."),
        _("Shorten it or leave the row out."),
    ),
    "data-path-outside": Words(
        422,
        _("A path leads out of the data's folder"),
        _("{name}, row {row}, column {column}: {path}."),
        _("Put the files beside the table and name them by relative paths."),
    ),
    "data-path-missing": Words(
        422,
        _("A file that a row names is not there"),
        _("{name}, row {row}, column {column}: {path}."),
        _("Put the file there or leave the row out."),
    ),
    "data-label": Words(
        422,
        _("A label is of another form"),
        _("{name}, row {row}: {label}. Expected: {expected}."),
        _("Write the labels in this form."),
    ),
    "data-label-unknown": Words(
        422,
        _("The model does not know a label"),
        _("{name}, row {row}: {label}. The model knows: {known}. Perhaps meant: {meant}."),
        _("Write the labels as the model does."),
    ),
    "data-labels-missing": Words(
        422,
        _("Some rows have no label"),
        _("{name}: {count} of {total} rows have none, among them {rows}."),
        _("Label all rows, or leave the column out."),
    ),
    "data-one-class": Words(
        422,
        _("All rows have the same label"),
        _("All {count} rows of {name} are {label}: nothing can be told apart by them."),
        _("Add rows with other labels."),
    ),
    "data-no-pairs": Words(
        422,
        _("Too few texts belong together"),
        _("{name} has {count} texts that share their group with another; {needed} are needed."),
        _("Give texts of the same meaning the same label."),
    ),
    "data-too-few": Words(
        422,
        _("There are too few rows"),
        _("{name} has {rows} rows, {distinct} of them different; {needed} are needed to prove anything."),
        _("Add rows: a few hundred prove a bound of one point."),
    ),
    "data-row": Words(
        422,
        _("The model refuses a row"),
        _("{name}, row {row}, {where}: {why}."),
        _("Correct this row."),
    ),
}
