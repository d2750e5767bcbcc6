package market.sample

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.imageio.ImageIO

/** Arguments: a picture, a file for the model's input (float32 or uint8), and perhaps raw scores with their shape. */
fun main(arguments: Array<String>) {
    val image = ImageIO.read(File(arguments[0]))
    val pixels = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
    val given = input(Picture.ofArgb(image.width, image.height, pixels)) { it }
    val data = given.data
    val bytes = if (data is ByteArray) data else {
        val floats = data as FloatArray
        val buffer = ByteBuffer.allocate(floats.size * 4).order(ByteOrder.LITTLE_ENDIAN)
        buffer.asFloatBuffer().put(floats)
        buffer.array()
    }
    File(arguments[1]).writeBytes(bytes)
    println(given.shape.joinToString(","))
    val scores = ByteBuffer.wrap(File(arguments[2]).readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    val values = FloatArray(scores.remaining()).also { scores.get(it) }
    val shape = arguments[3].split(",").map { it.toLong() }.toLongArray()
    val labels = readLabels(File(arguments[4]).readText())
    for (one in found(Values(values, shape), labels)) {
        println(one.words)
    }
}
