package market.sample

import java.util.Locale
import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.tanh

/** A class of the model: its name, and how people call it. */
class Label(val name: String, val zh: String, val en: String) {
    /** In the phone's language. */
    fun title(): String = if (Locale.getDefault().language == "zh") zh else en
}

/** A label and how likely it is, from 0 to 1. */
class Score(val label: Label, val score: Double)

/** Labels, one a line of labels.tsv: name, Chinese, English. The number of the line is that of the class. */
fun readLabels(text: String): List<Label> =
    text.split("\n").filter { it.isNotEmpty() }.map { line ->
        val parts = line.split("\t")
        Label(parts[0], parts[1], parts[2])
    }

/** Scores as probabilities; "auto" takes those that sum to one for such, others for logits. */
fun probabilities(scores: FloatArray, activation: String): DoubleArray {
    val values = DoubleArray(scores.size) { scores[it].toDouble() }
    val ready = values.all { it >= 0 } && abs(values.sum() - 1) < 1e-3
    return when (if (activation == "auto") (if (ready) "none" else "softmax") else activation) {
        "softmax" -> {
            val most = values.max()
            val powers = DoubleArray(values.size) { exp(values[it] - most) }
            val sum = powers.sum()
            DoubleArray(values.size) { powers[it] / sum }
        }
        "sigmoid" -> DoubleArray(values.size) { 0.5 * (1 + tanh(values[it] / 2)) }
        else -> values
    }
}

/** The likeliest labels, the likeliest first. */
fun best(scores: FloatArray, labels: List<Label>, activation: String, count: Int): List<Score> {
    val likely = probabilities(scores, activation)
    return labels.indices.sortedByDescending { likely[it] }.take(count).map { Score(labels[it], likely[it]) }
}

/** A share in words: 93.1 % */
fun percent(share: Double): String = String.format(Locale.ROOT, "%.1f %%", share * 100)
