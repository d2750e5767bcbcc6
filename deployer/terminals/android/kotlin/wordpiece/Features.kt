package market.sample

import java.text.Normalizer
import java.util.Locale

/** A text as the model takes it: ids of its tokens, cut at MOST_TOKENS. */
fun features(text: String, read: Read): Map<String, Values> {
    val vocabulary = Vocabulary.of(read)
    val pieces = words(normal(text)).flatMap { vocabulary.pieces(it) }.take(ModelSpec.MOST_TOKENS - 2)
    val ids = longArrayOf(ModelSpec.FIRST.toLong()) + pieces.toLongArray() + longArrayOf(ModelSpec.LAST.toLong())
    val made = mapOf(
        "input_ids" to ids,
        "attention_mask" to LongArray(ids.size) { 1 },
        "token_type_ids" to LongArray(ids.size),
    )
    val shape = longArrayOf(1, ids.size.toLong())
    return ModelSpec.INPUTS.associate { it.name to Values(made.getValue(it.name), shape) }
}

/** The pieces that words are made of, with their ids; those inside a word start with ##. */
private class Vocabulary(lines: List<String>) {
    private val ids = HashMap<String, Long>(lines.size * 2)

    init {
        lines.forEachIndexed { id, piece -> ids[piece] = id.toLong() }
    }

    /** The longest pieces from the left; the unknown piece for a word that has none, or is too long. */
    fun pieces(word: String): List<Long> {
        val characters = word.codePoints().toArray()
        if (characters.size > ModelSpec.LONGEST_WORD) {
            return listOf(ModelSpec.UNKNOWN.toLong())
        }
        val found = ArrayList<Long>()
        var start = 0
        while (start < characters.size) {
            var end = characters.size
            var id: Long? = null
            while (end > start && id == null) {
                val piece = String(characters, start, end - start)
                id = ids[if (start > 0) "##$piece" else piece]
                end--
            }
            found.add(id ?: return listOf(ModelSpec.UNKNOWN.toLong()))
            start = end + 1
        }
        return found
    }

    companion object {
        private var known: Vocabulary? = null

        /** Read once; one piece a line, the number of the line is its id. */
        fun of(read: Read): Vocabulary = known ?: Vocabulary(read("vocab.txt").split("\n")).also { known = it }
    }
}

/** Without control characters; Chinese characters set apart; accents and capitals gone if the model says so. */
private fun normal(text: String): String {
    val kept = StringBuilder()
    for (character in text.codePoints().toArray()) {
        when {
            character == 0 || character == 0xFFFD || isControl(character) -> {}
            isBlank(character) -> kept.append(' ')
            ModelSpec.SPLIT_CHINESE && isChinese(character) -> kept.append(' ').appendCodePoint(character).append(' ')
            else -> kept.appendCodePoint(character)
        }
    }
    var normal = kept.toString()
    if (ModelSpec.STRIP_ACCENTS) {
        val apart = Normalizer.normalize(normal, Normalizer.Form.NFD).codePoints().toArray()
        val bare = apart.filter { Character.getType(it) != Character.NON_SPACING_MARK.toInt() }.toIntArray()
        normal = String(bare, 0, bare.size)
    }
    return if (ModelSpec.LOWERCASE) normal.lowercase(Locale.ROOT) else normal
}

/** Split at blanks; each punctuation mark is a word of its own. */
private fun words(text: String): List<String> {
    val words = ArrayList<String>()
    val word = StringBuilder()
    fun end() {
        if (word.isNotEmpty()) {
            words.add(word.toString())
            word.clear()
        }
    }
    for (character in text.codePoints().toArray()) {
        when {
            isBlank(character) -> end()
            isPunctuation(character) -> {
                end()
                words.add(String(Character.toChars(character)))
            }
            else -> word.appendCodePoint(character)
        }
    }
    end()
    return words
}

private fun isBlank(character: Int): Boolean =
    Character.isWhitespace(character) || Character.isSpaceChar(character) || character == 0x85

private fun isControl(character: Int): Boolean {
    if (character == 9 || character == 10 || character == 13) {
        return false
    }
    return when (Character.getType(character).toByte()) {
        Character.CONTROL, Character.FORMAT, Character.PRIVATE_USE, Character.SURROGATE -> true
        else -> false
    }
}

private fun isPunctuation(character: Int): Boolean {
    if (character in 33..47 || character in 58..64 || character in 91..96 || character in 123..126) {
        return true
    }
    return when (Character.getType(character).toByte()) {
        Character.CONNECTOR_PUNCTUATION,
        Character.DASH_PUNCTUATION,
        Character.START_PUNCTUATION,
        Character.END_PUNCTUATION,
        Character.INITIAL_QUOTE_PUNCTUATION,
        Character.FINAL_QUOTE_PUNCTUATION,
        Character.OTHER_PUNCTUATION,
        -> true
        else -> false
    }
}

private fun isChinese(character: Int): Boolean =
    CHINESE.any { character in it }

private val CHINESE = listOf(
    0x4E00..0x9FFF,
    0x3400..0x4DBF,
    0x20000..0x2A6DF,
    0x2A700..0x2B73F,
    0x2B740..0x2B81F,
    0x2B920..0x2CEAF,
    0xF900..0xFAFF,
    0x2F800..0x2FA1F,
)
