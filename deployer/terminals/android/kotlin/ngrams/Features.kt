package market.sample

import java.text.Normalizer
import java.util.Locale
import kotlin.math.ln
import kotlin.math.sqrt

/**
 * A text as the model takes it: its character n-grams by hash, with their weights.
 *
 * The n-grams of the normalised characters are counted by bucket, the counts dampened to 1 + ln(count)
 * and scaled to unit length. Bucket = FNV-1a (32 bits) over the n-gram's UTF-8, modulo BUCKETS, plus 1.
 */
@Suppress("UNUSED_PARAMETER")
fun features(text: String, read: Read): Map<String, Values> {
    val counts = sortedMapOf<Long, Int>()
    val characters = clean(text).codePoints().toArray()
    for (size in ModelSpec.SHORTEST..ModelSpec.LONGEST) {
        for (start in 0..characters.size - size) {
            val bucket = hash(String(characters, start, size)) % ModelSpec.BUCKETS + 1
            counts.merge(bucket, 1, Int::plus)
        }
    }
    val weights = counts.values.map { 1 + ln(it.toDouble()) }
    val norm = sqrt(weights.sumOf { it * it })
    // A text without characters is one padding.
    val ids = counts.keys.toLongArray().ifEmpty { longArrayOf(0) }
    val shares = FloatArray(ids.size) { if (weights.isEmpty()) 0f else (weights[it] / norm).toFloat() }
    val shape = longArrayOf(1, ids.size.toLong())
    return mapOf("ids" to Values(ids, shape), "weights" to Values(shares, shape))
}

private inline fun LongArray.ifEmpty(other: () -> LongArray): LongArray = if (isEmpty()) other() else this

/** Normalised Unicode, lower case, every run of white space as one blank. */
private fun clean(text: String): String {
    val normal = Normalizer.normalize(text, Normalizer.Form.valueOf(ModelSpec.FORM))
    val cased = if (ModelSpec.LOWERCASE) normal.lowercase(Locale.ROOT) else normal
    val words = ArrayList<String>()
    val word = StringBuilder()
    for (character in cased) {
        if (character.isWhitespace() || character == '\u0085') {
            if (word.isNotEmpty()) {
                words.add(word.toString())
                word.clear()
            }
        } else {
            word.append(character)
        }
    }
    if (word.isNotEmpty()) {
        words.add(word.toString())
    }
    return words.joinToString(" ")
}

private fun hash(text: String): Long {
    var value = 0x811C9DC5L
    for (byte in text.toByteArray()) {
        value = ((value xor (byte.toLong() and 255)) * 0x01000193L) and 0xFFFFFFFFL
    }
    return value
}
