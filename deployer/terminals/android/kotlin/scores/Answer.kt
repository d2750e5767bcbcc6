package market.sample

/** The labels of a text, the likeliest first. */
fun answer(text: String, read: Read, run: Run): List<String> {
    val labels = readLabels(read("labels.tsv"))
    val scores = run(features(text, read), listOf(ModelSpec.OUTPUT)).getValue(ModelSpec.OUTPUT)
    return best(scores.floats(), labels, ModelSpec.ACTIVATION, 5).map { "${it.label.title()}  ${percent(it.score)}" }
}

/** What the field asks for. */
val HINT = R.string.one_text
