import Foundation

/// A text as the model takes it: its character n-grams by hash, with their weights.
///
/// The n-grams of the normalised characters are counted by bucket, the counts dampened to 1 + ln(count)
/// and scaled to unit length. Bucket = FNV-1a (32 bits) over the n-gram's UTF-8, modulo buckets, plus 1.
func features(_ text: String) throws -> [String: Values] {
    var counts: [Int64: Int] = [:]
    let characters = Array(clean(text).unicodeScalars)
    for size in ModelSpec.shortest...ModelSpec.longest where characters.count >= size {
        for start in 0...(characters.count - size) {
            let bucket = Int64(hash(characters[start..<(start + size)])) % Int64(ModelSpec.buckets) + 1
            counts[bucket, default: 0] += 1
        }
    }
    if counts.isEmpty {
        // A text without characters is one padding.
        return ["ids": Values(cells: .longs([0]), shape: [1, 1]), "weights": Values(cells: .floats([0]), shape: [1, 1])]
    }
    let ids = counts.keys.sorted()
    let weights = ids.map { 1 + log(Double(counts[$0] ?? 1)) }
    let norm = weights.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let shape = [1, ids.count]
    return [
        "ids": Values(cells: .longs(ids), shape: shape),
        "weights": Values(cells: .floats(weights.map { Float($0 / norm) }), shape: shape),
    ]
}

/// Normalised Unicode, lower case, every run of white space as one blank.
private func clean(_ text: String) -> String {
    let normal: String
    switch ModelSpec.form {
    case "NFC": normal = text.precomposedStringWithCanonicalMapping
    case "NFD": normal = text.decomposedStringWithCanonicalMapping
    case "NFKD": normal = text.decomposedStringWithCompatibilityMapping
    default: normal = text.precomposedStringWithCompatibilityMapping
    }
    let cased = ModelSpec.lowercase ? normal.lowercased() : normal
    let words = cased.unicodeScalars.split { isBlank($0) }
    return words.map { String(String.UnicodeScalarView($0)) }.joined(separator: " ")
}

private func isBlank(_ character: Unicode.Scalar) -> Bool {
    character.properties.isWhitespace || (28...31).contains(character.value)
}

private func hash(_ characters: ArraySlice<Unicode.Scalar>) -> UInt32 {
    var value: UInt32 = 0x811C_9DC5
    for byte in String(String.UnicodeScalarView(characters)).utf8 {
        value = (value ^ UInt32(byte)) &* 0x0100_0193
    }
    return value
}
