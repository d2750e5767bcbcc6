package market.sample

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.roundToInt
import kotlin.math.tanh

/** The picture as the model takes it. */
@Suppress("UNUSED_PARAMETER")
fun input(picture: Picture, squeeze: (Picture) -> Picture): Values =
    pixels(picture.resized(ModelSpec.WIDTH, ModelSpec.HEIGHT, ModelSpec.FILTER))

/** One label's part of the picture: how likely each pixel is of it, and how much is taken. */
class Part(val label: Label, val score: Double, val area: Double, val mask: Mask)

/** What there is to say of the model's output, the largest part first. */
fun found(output: Values, labels: List<Label>): List<Found> =
    parts(output, labels).map { Found("${it.label.title()}  ${percent(it.area)}", it.mask) }

/** The labels that are in the picture at all. */
fun parts(output: Values, labels: List<Label>): List<Part> {
    val maps = Maps(output, labels.size)
    val found = ArrayList<Part>()
    for (number in labels.indices) {
        if (labels[number].name in ModelSpec.HIDDEN) {
            continue
        }
        val chances = FloatArray(maps.area) { maps.chance(number, it) }
        val taken = BooleanArray(maps.area) { maps.mine(number, it) && chances[it] >= ModelSpec.THRESHOLD }
        val count = taken.count { it }
        if (count == 0 || count.toDouble() / maps.area < ModelSpec.LEAST_AREA) {
            continue
        }
        val score = chances.indices.filter { taken[it] }.sumOf { chances[it].toDouble() } / count
        val values = ByteArray(maps.area) { place ->
            val chance = if (labels.size == 1) chances[place] else if (taken[place]) 1f else 0f
            (chance * 255).roundToInt().toByte()
        }
        found.add(Part(labels[number], score, count.toDouble() / maps.area, Mask(maps.width, maps.height, values)))
    }
    return found.sortedByDescending { it.area }
}

/** The model's output: a map of probabilities for each label, or the number of the label of each pixel. */
private class Maps(output: Values, private val count: Int) {
    private val byPixel = output.shape.size == 4 && ModelSpec.OUTPUT_LAYOUT == "NHWC"
    val height: Int
    val width: Int
    val area: Int
    private val values = output.floats()
    private val activation: String

    init {
        val shape = output.shape
        height = (if (byPixel) shape[1] else shape[shape.size - 2]).toInt()
        width = (if (byPixel) shape[2] else shape[shape.size - 1]).toInt()
        area = height * width
        activation = if (ModelSpec.ACTIVATION == "auto") guess() else ModelSpec.ACTIVATION
        if (!ModelSpec.NUMBERED) {
            activate()
        }
    }

    fun chance(label: Int, place: Int): Float =
        if (ModelSpec.NUMBERED) (if (values[place].toInt() == label) 1f else 0f) else values[at(label, place)]

    /** Whether a pixel may be the label's; where labels exclude each other the likeliest has it. */
    fun mine(label: Int, place: Int): Boolean {
        if (ModelSpec.NUMBERED) {
            return values[place].toInt() == label
        }
        if (!ModelSpec.EXCLUSIVE) {
            return true
        }
        val own = values[at(label, place)]
        return (0 until count).all { other ->
            val its = values[at(other, place)]
            its < own || (its == own && other >= label)
        }
    }

    private fun at(label: Int, place: Int): Int = if (byPixel) place * count + label else label * area + place

    private fun guess(): String {
        val within = values.all { it in 0f..1f }
        val ready = within && (count == 1 || (0 until area).all { abs(total(it) - 1) < 1e-2 })
        return if (ready) "none" else if (count == 1) "sigmoid" else "softmax"
    }

    private fun total(place: Int): Float {
        var sum = 0f
        for (label in 0 until count) {
            sum += values[at(label, place)]
        }
        return sum
    }

    private fun activate() {
        for (place in 0 until area) {
            val most = (0 until count).maxOf { values[at(it, place)] }
            for (label in 0 until count) {
                val value = values[at(label, place)]
                values[at(label, place)] = when (activation) {
                    "sigmoid" -> 0.5f * (1 + tanh(value / 2))
                    "softmax" -> exp(value - most)
                    else -> value.coerceIn(0f, 1f)
                }
            }
            val sum = if (activation == "softmax") total(place) else 1f
            for (label in 0 until count) {
                values[at(label, place)] /= sum
            }
        }
    }
}
