import Foundation

/// A text as the model takes it: ids of its tokens, cut at mostTokens.
func features(_ text: String) throws -> [String: Values] {
    let vocabulary = try Vocabulary.known.get()
    let pieces = words(normal(text)).flatMap { vocabulary.pieces($0) }.prefix(ModelSpec.mostTokens - 2)
    let ids = [Int64(ModelSpec.first)] + pieces + [Int64(ModelSpec.last)]
    let made: [String: [Int64]] = [
        "input_ids": ids,
        "attention_mask": ids.map { _ in 1 },
        "token_type_ids": ids.map { _ in 0 },
    ]
    var inputs: [String: Values] = [:]
    for tensor in ModelSpec.inputs {
        inputs[tensor.name] = Values(cells: .longs(made[tensor.name] ?? []), shape: [1, ids.count])
    }
    return inputs
}

/// The pieces that words are made of, with their ids; those inside a word start with ##.
private struct Vocabulary {
    /// Read once; one piece a line, the number of the line is its id.
    static let known = Result { try Vocabulary(read("vocab.txt")) }

    /// By code points, since Swift's strings are equal when they look alike.
    private var ids: [[Unicode.Scalar]: Int64] = [:]

    init(_ text: String) {
        for (id, piece) in text.components(separatedBy: "\n").enumerated() {
            ids[Array(piece.unicodeScalars)] = Int64(id)
        }
    }

    /// The longest pieces from the left; the unknown piece for a word that has none, or is too long.
    func pieces(_ word: [Unicode.Scalar]) -> [Int64] {
        if word.count > ModelSpec.longestWord {
            return [Int64(ModelSpec.unknown)]
        }
        let inside: [Unicode.Scalar] = ["#", "#"]
        var found: [Int64] = []
        var start = 0
        while start < word.count {
            var end = word.count
            var id: Int64?
            while end > start {
                id = ids[(start > 0 ? inside : []) + word[start..<end]]
                if id != nil {
                    break
                }
                end -= 1
            }
            guard let id else {
                return [Int64(ModelSpec.unknown)]
            }
            found.append(id)
            start = end
        }
        return found
    }
}

/// Without control characters; Chinese characters set apart; accents and capitals gone if the model says so.
private func normal(_ text: String) -> String {
    var kept = String.UnicodeScalarView()
    for character in text.unicodeScalars {
        if character.value == 0 || character.value == 0xFFFD || isControl(character) {
            continue
        }
        if isBlank(character) {
            kept.append(" ")
        } else if ModelSpec.splitChinese && isChinese(character) {
            kept.append(contentsOf: [" ", character, " "])
        } else {
            kept.append(character)
        }
    }
    var normal = String(kept)
    if ModelSpec.stripAccents {
        let apart = normal.decomposedStringWithCanonicalMapping.unicodeScalars
        normal = String(String.UnicodeScalarView(apart.filter { $0.properties.generalCategory != .nonspacingMark }))
    }
    return ModelSpec.lowercase ? normal.lowercased() : normal
}

/// Split at blanks; each punctuation mark is a word of its own.
private func words(_ text: String) -> [[Unicode.Scalar]] {
    var words: [[Unicode.Scalar]] = []
    var word: [Unicode.Scalar] = []
    for character in text.unicodeScalars {
        let mark = isPunctuation(character)
        if mark || isBlank(character) {
            if !word.isEmpty {
                words.append(word)
                word = []
            }
            if mark {
                words.append([character])
            }
        } else {
            word.append(character)
        }
    }
    return word.isEmpty ? words : words + [word]
}

private func isBlank(_ character: Unicode.Scalar) -> Bool {
    character.properties.isWhitespace
}

private func isControl(_ character: Unicode.Scalar) -> Bool {
    if [9, 10, 13].contains(character.value) {
        return false
    }
    switch character.properties.generalCategory {
    case .control, .format, .privateUse, .surrogate: return true
    default: return false
    }
}

private func isPunctuation(_ character: Unicode.Scalar) -> Bool {
    let ascii: [ClosedRange<UInt32>] = [33...47, 58...64, 91...96, 123...126]
    if ascii.contains(where: { $0.contains(character.value) }) {
        return true
    }
    switch character.properties.generalCategory {
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
         .initialPunctuation, .finalPunctuation, .otherPunctuation:
        return true
    default:
        return false
    }
}

private func isChinese(_ character: Unicode.Scalar) -> Bool {
    let ranges: [ClosedRange<UInt32>] = [
        0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F,
        0x2B740...0x2B81F, 0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F,
    ]
    return ranges.contains { $0.contains(character.value) }
}
