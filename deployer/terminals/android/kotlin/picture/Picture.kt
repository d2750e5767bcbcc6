package market.sample

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sin

/** A picture in memory: one byte each of red, green and blue for every pixel, row by row. */
class Picture(val width: Int, val height: Int, val rgb: ByteArray) {
    companion object {
        /** From Android's pixels, laid on white where they are transparent. */
        fun ofArgb(width: Int, height: Int, pixels: IntArray): Picture {
            val rgb = ByteArray(pixels.size * 3)
            for (place in pixels.indices) {
                val pixel = pixels[place]
                val alpha = pixel ushr 24
                for (channel in 0..2) {
                    val value = (pixel shr (16 - 8 * channel)) and 255
                    val mixed = value * alpha + 255 * (255 - alpha) + 128
                    rgb[place * 3 + channel] = ((mixed + (mixed shr 8)) shr 8).toByte()
                }
            }
            return Picture(width, height, rgb)
        }
    }

    /** The part of this size from the centre. */
    fun centre(wide: Int, high: Int): Picture {
        val left = (width - wide) / 2
        val top = (height - high) / 2
        val part = ByteArray(wide * high * 3)
        for (row in 0 until high) {
            val from = ((top + row) * width + left) * 3
            rgb.copyInto(part, row * wide * 3, from, from + wide * 3)
        }
        return Picture(wide, high, part)
    }

    /**
     * The picture within a box, scaled to a size.
     *
     * Done as the Pillow library does it, whose pixels the model was checked with: every pixel is the
     * weighted sum of those that the filter's support covers, in whole numbers, along rows and along columns
     * one after the other.
     */
    fun resized(
        wide: Int,
        high: Int,
        filter: String,
        left: Float = 0f,
        top: Float = 0f,
        right: Float = width.toFloat(),
        bottom: Float = height.toFloat(),
    ): Picture {
        if (filter == "nearest") {
            return nearest(wide, high, left, top, right, bottom)
        }
        val across = Weights(width, left, right, wide, filter)
        val down = Weights(height, top, bottom, high, filter)
        // Which goes first decides about the rounding; this is Pillow's choice.
        val columnsFirst = high < height && height - high > 2 * (width - wide)
        return if (columnsFirst) alongColumns(down).alongRows(across) else alongRows(across).alongColumns(down)
    }

    private fun alongRows(weights: Weights): Picture {
        val wide = weights.start.size
        val made = ByteArray(wide * height * 3)
        for (y in 0 until height) {
            for (x in 0 until wide) {
                for (channel in 0..2) {
                    val from = (y * width + weights.start[x]) * 3 + channel
                    made[(y * wide + x) * 3 + channel] = weights.sum(x, rgb, from, 3)
                }
            }
        }
        return Picture(wide, height, made)
    }

    private fun alongColumns(weights: Weights): Picture {
        val row = width * 3
        val made = ByteArray(weights.start.size * row)
        for (y in weights.start.indices) {
            for (place in 0 until row) {
                made[y * row + place] = weights.sum(y, rgb, weights.start[y] * row + place, row)
            }
        }
        return Picture(width, weights.start.size, made)
    }

    private fun nearest(wide: Int, high: Int, left: Float, top: Float, right: Float, bottom: Float): Picture {
        val columns = places(left, right, wide, width)
        val rows = places(top, bottom, high, height)
        val scaled = ByteArray(wide * high * 3)
        for (y in 0 until high) {
            for (x in 0 until wide) {
                val from = (rows[y] * width + columns[x]) * 3
                rgb.copyInto(scaled, (y * wide + x) * 3, from, from + 3)
            }
        }
        return Picture(wide, high, scaled)
    }

    private fun places(from: Float, to: Float, count: Int, limit: Int): IntArray {
        val step = (to - from).toDouble() / count
        var place = from + step * 0.5
        return IntArray(count) {
            val found = min(place.toInt(), limit - 1)
            place += step
            found
        }
    }
}

/** For each pixel of a row to be made: where its source pixels start, and the weight of each. */
private class Weights(size: Int, from: Float, to: Float, count: Int, filter: String) {
    val start = IntArray(count)
    private val weights: Array<IntArray>

    init {
        val scale = (to - from).toDouble() / count
        val stretch = max(scale, 1.0)
        val support = radius(filter) * stretch
        val shrink = 1 / stretch
        weights = Array(count) { place ->
            val centre = from + (place + 0.5) * scale
            val first = max((centre - support + 0.5).toInt(), 0)
            val end = min((centre + support + 0.5).toInt(), size)
            start[place] = first
            val shares = DoubleArray(end - first) { weight(filter, (it + first - centre + 0.5) * shrink) }
            val sum = shares.sum()
            IntArray(shares.size) {
                val share = shares[it] / sum * ONE
                (if (share < 0) share - 0.5 else share + 0.5).toInt()
            }
        }
    }

    /** The weighted sum for a place, of source bytes from `from` on, each `step` after the last. */
    fun sum(place: Int, source: ByteArray, from: Int, step: Int): Byte {
        var total = ONE / 2
        var next = from
        for (weight in weights[place]) {
            total += (source[next].toInt() and 255) * weight
            next += step
        }
        return (total shr BITS).coerceIn(0, 255).toByte()
    }

    private companion object {
        const val BITS = 22
        const val ONE = 1 shl BITS

        fun radius(filter: String): Double = when (filter) {
            "bicubic" -> 2.0
            "lanczos" -> 3.0
            else -> 1.0
        }

        fun weight(filter: String, at: Double): Double {
            val x = abs(at)
            return when (filter) {
                "bicubic" -> when {
                    x < 1 -> (1.5 * x - 2.5) * x * x + 1
                    x < 2 -> -0.5 * (((x - 5) * x + 8) * x - 4)
                    else -> 0.0
                }
                "lanczos" -> if (x < 3) wave(x) * wave(x / 3) else 0.0
                else -> max(1 - x, 0.0)
            }
        }

        fun wave(x: Double): Double = if (x == 0.0) 1.0 else sin(PI * x) / (PI * x)
    }
}
