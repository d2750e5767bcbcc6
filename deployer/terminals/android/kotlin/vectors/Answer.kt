package market.sample

import java.util.Locale
import kotlin.math.max
import kotlin.math.sqrt

/** The vector of the first line, and how near the other lines are to it in meaning, from -1 to 1. */
fun answer(text: String, read: Read, run: Run): List<String> {
    val lines = text.split("\n").filter { it.isNotBlank() }.ifEmpty { listOf("") }
    val vectors = lines.map { line ->
        val inputs = features(line, read)
        vector(run(inputs, listOf(ModelSpec.OUTPUT)).getValue(ModelSpec.OUTPUT))
    }
    val first = vectors[0]
    val start = first.take(SHOWN).joinToString(", ") { rounded(it.toDouble()) }
    val near = lines.indices.drop(1).map { "${rounded(cosine(first, vectors[it]))}  ${lines[it]}" }
    return listOf("[${first.size}] $start, …") + near
}

/** One vector from the model's output: [1, n], or [1, tokens, n] by the mean or the first token. */
fun vector(output: Values): FloatArray {
    val values = output.floats()
    val width = output.shape.last().toInt()
    val rows = if (output.shape.size == 2 || ModelSpec.POOLING == "cls") 1 else values.size / width
    val pooled = FloatArray(width) { place ->
        var sum = 0f
        for (row in 0 until rows) {
            sum += values[row * width + place]
        }
        sum / rows
    }
    if (!ModelSpec.NORMALIZE) {
        return pooled
    }
    val length = max(sqrt(pooled.sumOf { it.toDouble() * it }), 1e-12).toFloat()
    return FloatArray(width) { pooled[it] / length }
}

private fun cosine(one: FloatArray, other: FloatArray): Double {
    fun product(a: FloatArray, b: FloatArray) = a.indices.sumOf { a[it].toDouble() * b[it] }
    return product(one, other) / max(sqrt(product(one, one) * product(other, other)), 1e-12)
}

private fun rounded(value: Double): String = String.format(Locale.ROOT, "%.4f", value)

private const val SHOWN = 8

/** What the field asks for. */
val HINT = R.string.one_a_line
