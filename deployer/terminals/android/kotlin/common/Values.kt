package market.sample

/** A tensor of the model's signature; a free axis has the length -1. */
class Tensor(val name: String, val datatype: String, val shape: LongArray)

/**
 * What goes into the model or comes out of it: the values in row-major order, and their shape.
 *
 * `data` is a FloatArray (FP32), LongArray (INT64), IntArray (INT32), ByteArray (UINT8) or Array of String.
 */
class Values(val data: Any, val shape: LongArray) {
    /** Numbers of any type as floats. */
    fun floats(): FloatArray = when (data) {
        is FloatArray -> data
        is LongArray -> FloatArray(data.size) { data[it].toFloat() }
        is IntArray -> FloatArray(data.size) { data[it].toFloat() }
        is ByteArray -> FloatArray(data.size) { (data[it].toInt() and 255).toFloat() }
        else -> throw IllegalArgumentException("these values are no numbers")
    }
}
