package market.sample

/** The outputs for inputs that are written as lines of "name = 1, 2, 3". */
fun answer(text: String, read: Read, run: Run): List<String> {
    val outputs = run(inputs(text), ModelSpec.OUTPUTS.map { it.name })
    return outputs.map { (name, values) -> "$name ${values.shape.contentToString()} = ${shown(values)}" }
}

/** Each line as the tensor of its name; a model with one input needs no name. */
fun inputs(text: String): Map<String, Values> {
    val lines = text.split("\n").filter { it.isNotBlank() }
    return ModelSpec.INPUTS.associate { tensor ->
        val own = lines.firstOrNull { it.contains("=") && it.substringBeforeLast("=").trim() == tensor.name }
        val line = own?.substringAfterLast("=") ?: lines.singleOrNull()
        requireNotNull(line) { "${tensor.name} = ?" }
        tensor.name to values(tensor, line.split(",").map { it.trim() })
    }
}

/** Values in the tensor's type; the first free axis takes what the others leave, further ones have the length 1. */
private fun values(tensor: Tensor, cells: List<String>): Values {
    val shape = tensor.shape.clone()
    val free = shape.indexOfFirst { it < 0 }
    for (axis in shape.indices) {
        if (shape[axis] < 0) {
            shape[axis] = 1
        }
    }
    if (free >= 0) {
        shape[free] = cells.size / shape.fold(1L) { product, length -> product * length }
    }
    val wanted = shape.fold(1L) { product, length -> product * length }
    require(wanted == cells.size.toLong()) { "${tensor.name}: $wanted ≠ ${cells.size}" }
    val data: Any = when (tensor.datatype) {
        "INT64" -> LongArray(cells.size) { cells[it].toLong() }
        "INT32" -> IntArray(cells.size) { cells[it].toInt() }
        "UINT8" -> ByteArray(cells.size) { cells[it].toUByte().toByte() }
        "BYTES" -> cells.toTypedArray()
        else -> FloatArray(cells.size) { cells[it].toFloat() }
    }
    return Values(data, shape)
}

private fun shown(values: Values): String {
    val cells = when (val data = values.data) {
        is Array<*> -> data.map { it.toString() }
        is LongArray -> data.map { it.toString() }
        is IntArray -> data.map { it.toString() }
        else -> values.floats().map { it.toString() }
    }
    return cells.take(MOST).joinToString(", ") + if (cells.size > MOST) ", …" else ""
}

private const val MOST = 64

/** What the field asks for. */
val HINT = R.string.one_input_a_line
