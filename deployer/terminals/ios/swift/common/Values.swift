import Foundation

/// A tensor of the model's signature; a free axis has the length -1.
struct Tensor {
    let name: String
    let datatype: String
    let shape: [Int]
}

/// What goes into the model or comes out of it: the values in row-major order, and their shape.
struct Values {
    enum Cells {
        case floats([Float])
        case longs([Int64])
        case ints([Int32])
        case bytes([UInt8])
        case texts([String])
    }

    let cells: Cells
    let shape: [Int]

    /// Numbers of any type as floats; none for texts.
    var floats: [Float] {
        switch cells {
        case .floats(let values): return values
        case .longs(let values): return values.map { Float($0) }
        case .ints(let values): return values.map { Float($0) }
        case .bytes(let values): return values.map { Float($0) }
        case .texts: return []
        }
    }
}

/// What went wrong, in words.
struct Failure: LocalizedError {
    let words: String

    var errorDescription: String? { words }
}

/// A run of the model: inputs by name and the outputs that are wanted, to outputs by name.
typealias Run = ([String: Values], [String]) throws -> [String: Values]

/// The text of one of the app's files.
func read(_ name: String) throws -> String {
    let parts = name.split(separator: ".")
    guard let url = Bundle.main.url(forResource: String(parts[0]), withExtension: String(parts[1])) else {
        throw Failure(words: name)
    }
    return try String(contentsOf: url, encoding: .utf8)
}
