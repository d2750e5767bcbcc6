package market.sample

import java.io.File

/** Arguments: the folder of assets, and a file of texts, one a line with \n for line breaks in it. */
fun main(arguments: Array<String>) {
    val read: Read = { File(arguments[0], it).readText() }
    for (line in File(arguments[1]).readText().split("\n")) {
        val inputs = features(line.replace("\\n", "\n"), read)
        println(ModelSpec.INPUTS.joinToString(";") { tensor ->
            when (val data = inputs.getValue(tensor.name).data) {
                is LongArray -> data.joinToString(",")
                is FloatArray -> data.joinToString(",")
                else -> throw IllegalStateException()
            }
        })
    }
}
