package market.sample

import kotlin.math.max
import kotlin.math.min

/** A picture as the model takes it: (pixel × SCALE - MEAN) / STD, in the order of CHANNELS and LAYOUT. */
fun pixels(picture: Picture): Values {
    val count = ModelSpec.MEAN.size
    val area = picture.width * picture.height
    val values = FloatArray(area * count)
    val factor = FloatArray(count) { ModelSpec.SCALE.toFloat() / ModelSpec.STD[it].toFloat() }
    val shift = FloatArray(count) { ModelSpec.MEAN[it].toFloat() / ModelSpec.STD[it].toFloat() }
    for (place in 0 until area) {
        for (channel in 0 until count) {
            val value = sample(picture, place, channel).toFloat() * factor[channel] - shift[channel]
            values[if (ModelSpec.LAYOUT == "NCHW") channel * area + place else place * count + channel] = value
        }
    }
    val high = picture.height.toLong()
    val wide = picture.width.toLong()
    val shape = if (ModelSpec.LAYOUT == "NCHW") longArrayOf(1, count.toLong(), high, wide)
    else longArrayOf(1, high, wide, count.toLong())
    if (ModelSpec.INPUTS[0].datatype == "UINT8") {
        val bytes = ByteArray(values.size) { Math.rint(values[it].toDouble()).coerceIn(0.0, 255.0).toInt().toByte() }
        return Values(bytes, shape)
    }
    return Values(values, shape)
}

private fun sample(picture: Picture, place: Int, channel: Int): Int {
    fun of(colour: Int) = picture.rgb[place * 3 + colour].toInt() and 255
    return when (ModelSpec.CHANNELS) {
        "L" -> (of(0) * 19595 + of(1) * 38470 + of(2) * 7471 + 32768) shr 16
        "BGR" -> of(2 - channel)
        else -> of(channel)
    }
}

/** The centre of a picture that is scaled to a short side, in one step from the source. */
fun centreByShortSide(picture: Picture, short: Int, wide: Int, high: Int): Picture {
    val scale = short.toDouble() / min(picture.width, picture.height)
    val across = min(wide, short) / scale
    val down = min(high, short) / scale
    val left = (picture.width - across) / 2
    val top = (picture.height - down) / 2
    return picture.resized(
        wide,
        high,
        ModelSpec.FILTER,
        max(left, 0.0).toFloat(),
        max(top, 0.0).toFloat(),
        min(left + across, picture.width.toDouble()).toFloat(),
        min(top + down, picture.height.toDouble()).toFloat(),
    )
}
